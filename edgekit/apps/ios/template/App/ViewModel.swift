import ImageClassifier
import PhotosUI
import SwiftUI

#if canImport(ClassifierRuntime)
    import ClassifierRuntime
#endif

/// What the screen shows.
@MainActor
final class ViewModel: ObservableObject {
    @Published private(set) var about = "Loading."
    @Published private(set) var ready = false
    @Published private(set) var message = ""
    @Published private(set) var picture: UIImage?
    @Published private(set) var labels: [ImageClassifier.Label] = []
    @Published private(set) var times = ""
    private let worker = Worker()

    func load() async {
        do {
            about = try await worker.load()
            ready = true
        } catch {
            about = ""
            message = "The model cannot be loaded: \(error.localizedDescription)."
        }
    }

    func show(_ item: PhotosPickerItem?) async {
        guard let item else { return }
        do {
            guard let data = try await item.loadTransferable(type: Data.self) else { return }
            await show(data)
        } catch {
            message = "The image cannot be read: choose another one."
        }
    }

    func show(_ data: Data) async {
        do {
            let found = try await worker.classify(data)
            labels = found.labels
            times = String(
                format: "%.1f ms preparing + %.1f ms network", found.preparing, found.network)
            picture = UIImage(data: data)
            message = ""
        } catch {
            labels = []
            times = ""
            picture = nil
            message = "This did not work: \(error.localizedDescription)."
        }
    }
}

/// All work with the classifier, which is done one after the other and not by the screen.
private actor Worker {
    struct Found {
        let labels: [ImageClassifier.Label]
        let preparing: Double
        let network: Double
    }

    private var classifier: Classifier?

    func load() throws -> String {
        let found = try Classifier(runtime: ModelRuntime.self)
        classifier = found
        return "\(found.file), in \(found.runtime.name)"
    }

    func classify(_ data: Data) throws -> Found {
        guard let classifier else { throw ModelError("the model is not loaded") }
        let begin = CFAbsoluteTimeGetCurrent()
        let prepared = try classifier.prepare(try classifier.read(data))
        let middle = CFAbsoluteTimeGetCurrent()
        let scores = try classifier.scores(prepared)
        let end = CFAbsoluteTimeGetCurrent()
        return Found(
            labels: decode(scores, classifier.contract), preparing: 1000 * (middle - begin),
            network: 1000 * (end - middle))
    }
}
