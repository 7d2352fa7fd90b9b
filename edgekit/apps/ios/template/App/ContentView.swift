import ImageClassifier
import PhotosUI
import SwiftUI

/// Shows what a photograph shows. Texts follow the size that is set on the phone.
struct ContentView: View {
    @StateObject private var model = ViewModel()
    @State private var item: PhotosPickerItem?
    @State private var camera = false

    var body: some View {
        ScrollView {
            VStack(alignment: .leading, spacing: 16) {
                Text("What does it show?").font(.title).accessibilityAddTraits(.isHeader)
                Text(model.about).font(.footnote).foregroundStyle(.secondary)
                PhotosPicker("Choose an image", selection: $item, matching: .images)
                    .buttonStyle(.bordered)
                    .disabled(!model.ready)
                Button("Use the camera") { camera = true }
                    .buttonStyle(.bordered)
                    .disabled(!model.ready || !CameraView.isThere)
                if !CameraView.isThere { Text("There is no camera: choose an image.") }
                if !model.message.isEmpty { Text(model.message).bold() }
                if let picture = model.picture {
                    Image(uiImage: picture)
                        .resizable()
                        .scaledToFit()
                        .frame(maxHeight: 320)
                        .accessibilityLabel("The image that was chosen")
                }
                ForEach(model.labels) { LabelView(label: $0) }
                Text(model.times).font(.footnote).foregroundStyle(.secondary)
            }
            .padding()
            .frame(maxWidth: .infinity, alignment: .leading)
        }
        .task { await model.load() }
        .onChange(of: item) { chosen in
            Task { await model.show(chosen) }
        }
        .sheet(isPresented: $camera) {
            CameraView { data in
                camera = false
                if let data { Task { await model.show(data) } }
            }
        }
    }
}

/// A class with a bar.
private struct LabelView: View {
    let label: ImageClassifier.Label

    var body: some View {
        VStack(alignment: .leading) {
            // As it is, and not as a text in Markdown or one that is translated.
            Text(verbatim: label.name)
            Text(label.probability, format: .percent.precision(.fractionLength(1)))
                .foregroundStyle(.secondary)
            ProgressView(value: label.probability.isNaN ? 0 : min(max(label.probability, 0), 1))
        }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(Text(verbatim: label.name))
        .accessibilityValue(
            Text(label.probability, format: .percent.precision(.fractionLength(1))))
    }
}
