import Foundation
import ImageClassifier

/// What is known of the golden images.
public struct Golden {
    public struct Image: Decodable {
        public struct Most: Decodable {
            public let one: Double
            public let mean: Double
        }

        public struct Known: Decodable {
            public let index: Int
            public let label: String?
            public let probability: Double
        }

        public let file: String
        public let pixels: String
        public let mostOff: Most
        public let scores: [String: [Double]]
        public let leastDb: [String: Double]
        public let labels: [Known]
    }

    public struct Vector: Decodable {
        public let kind: Scores
        public let scores: [Double]
        public let probabilities: [Double]
    }

    private struct Document: Decodable {
        let images: [Image]
        let vectors: [Vector]
    }

    public let contract: Contract
    public let images: [Image]
    public let vectors: [Vector]
    private let folder: URL

    public init() throws {
        guard let model = Classifier.folder,
            let folder = Bundle.module.url(forResource: "golden", withExtension: nil)
        else { throw ModelError("the model or the golden images are missing") }
        self.folder = folder
        contract = try Classifier.contract(in: model).0
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let text = try Data(contentsOf: folder.appendingPathComponent("golden.json"))
        let document = try decoder.decode(Document.self, from: text)
        images = document.images
        vectors = document.vectors
    }

    public func file(_ name: String) throws -> Data {
        try Data(contentsOf: folder.appendingPathComponent(name))
    }

    /// The finished pixels that belong to an image: a PNG file with the network's channels.
    public func known(_ image: Image) throws -> Pixels {
        let all = try Pixels(file: file(image.pixels), upright: false)
        let channels = contract.preprocessing.channels
        var found = Pixels(width: all.width, height: all.height, channels: channels)
        for i in found.data.indices { found.data[i] = all.data[i / channels * 4 + i % channels] }
        return found
    }

    /// What is wrong with the scores of a runtime, one line a finding; none where all is right.
    public func wrongScores(_ runtime: Runtime.Type) throws -> [String] {
        let classifier = try Classifier(runtime: runtime)
        return try images.flatMap { image -> [String] in
            let prepared = values(try known(image), contract.preprocessing)
            let found = try classifier.scores(prepared)
            return image.scores.compactMap { of, expected in
                wrong(found, expected, least: image.leastDb[of] ?? 0)
                    .map { "\(image.file): \($0), to the scores of the \(of)" }
            }
        }
    }

    /// Why scores are not close enough to those that are known; nil if they are.
    private func wrong(_ found: [Double], _ known: [Double], least: Double) -> String? {
        guard found.count == known.count else { return "\(found.count) scores" }
        guard found.allSatisfy({ $0.isFinite }) else { return "scores that are not finite" }
        if known.count == 1 {  // one number has no spread: it is compared as it is
            let off = abs(found[0] - known[0])
            return off <= 0.02 * max(1, abs(known[0])) ? nil : "the score is off by \(off)"
        }
        let count = Double(known.count)
        let middle = known.reduce(0, +) / count
        let power = known.reduce(0) { $0 + ($1 - middle) * ($1 - middle) } / count
        let noise = zip(known, found).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / count
        let decibels = 10 * log10(max(power, 1e-30) / max(noise, 1e-30))
        return decibels >= least ? nil : "\(decibels) dB: at least \(least)"
    }
}
