import Foundation

/// What runs a model; one thread at a time may use it.
public protocol Runtime {
    /// As people call it.
    var name: String { get }

    /// Loads a model.
    init(file: URL, contract: Contract, threads: Int) throws

    /// Runs the network on a batch of one. Input and output are packed, as the contract says.
    func run(_ input: Data) throws -> Data
}

/// A network that says what images show. It is loaded once and used again and again, by one thread
/// at a time:
///
///     let classifier = try Classifier(runtime: ModelRuntime.self)
///     for label in try classifier.classify(Pixels(file: data, upright: true)) {
///         print(label.name, label.probability)
///     }
public final class Classifier {
    public let contract: Contract
    public let file: String
    public let runtime: Runtime

    /// - Parameter folder: with the model and its contract, and no other; that of this package where
    ///   it is nil.
    public init(runtime: Runtime.Type, folder: URL? = nil, threads: Int = 2) throws {
        guard let place = folder ?? Classifier.folder else { throw ModelError("there is no model") }
        let path: URL
        (contract, path) = try Classifier.contract(in: place)
        file = path.lastPathComponent
        // Runtimes crash on damaged files, so what is cut short is not given to them.
        let size = try? path.resourceValues(forKeys: [.fileSizeKey]).fileSize
        guard size == contract.sizeBytes else {
            throw ModelError("\(file) is damaged, or another file than its contract says")
        }
        self.runtime = try runtime.init(file: path, contract: contract, threads: threads)
    }

    /// The folder with the model in this package.
    public static var folder: URL? { Bundle.module.url(forResource: "model", withExtension: nil) }

    /// The one contract in a folder, and the model that it belongs to.
    public static func contract(in folder: URL) throws -> (Contract, URL) {
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        let found = files.filter { $0.pathExtension == "json" }
        guard found.count == 1 else {
            throw ModelError("\(folder.lastPathComponent) does not hold one model with its contract")
        }
        let contract = try JSONDecoder().decode(Contract.self, from: Data(contentsOf: found[0]))
        guard contract.inputs.count == 1, contract.outputs.count == 1 else {
            throw ModelError("the model has several inputs or outputs")
        }
        return (contract, found[0].deletingPathExtension())
    }

    /// Pixels of an image file, in RGBA.
    public func read(_ file: Data) throws -> Pixels {
        try Pixels(file: file, upright: contract.preprocessing.exif == .upright)
    }

    /// The likeliest classes of an image in RGBA, the likeliest one first.
    public func classify(_ image: Pixels, most: Int = 5) throws -> [Label] {
        decode(try scores(try prepare(image)), contract, most: most)
    }

    /// An image as the network takes it.
    public func prepare(_ image: Pixels) throws -> [Float] {
        values(try finishedPixels(image, contract.preprocessing), contract.preprocessing)
    }

    /// The network's output for a prepared image: one number a class.
    public func scores(_ prepared: [Float]) throws -> [Double] {
        let (input, output) = (contract.inputs[0], contract.outputs[0])
        guard prepared.count == input.count else { throw ModelError("the input has another size") }
        let made = try runtime.run(stored(prepared, input))
        guard made.count == output.bytes else { throw ModelError("the output has another size") }
        return real(made, output)
    }
}

/// Real values as the file takes them, which may be integers with a scale.
func stored(_ values: [Float], _ tensor: Tensor) -> Data {
    if tensor.dtype == .float32 { return values.withUnsafeBufferPointer { Data(buffer: $0) } }
    let scale = Float(tensor.scale ?? 1)
    let (least, most): (Float, Float) = tensor.dtype == .int8 ? (-128, 127) : (0, 255)
    return Data(
        values.map { value in
            let step = (value / scale).rounded(.toNearestOrEven) + Float(tensor.zeroPoint ?? 0)
            return UInt8(truncatingIfNeeded: Int(min(max(step, least), most)))
        })
}

/// What the file computed, as real values.
func real(_ data: Data, _ tensor: Tensor) -> [Double] {
    let found: [Float]
    switch tensor.dtype {
    case .float32:
        var floats = [Float](repeating: 0, count: tensor.count)
        _ = floats.withUnsafeMutableBytes { data.copyBytes(to: $0) }
        found = floats
    case .int8: found = data.map { Float(Int8(bitPattern: $0)) }
    case .uint8: found = data.map { Float($0) }
    }
    guard let scale = tensor.scale else { return found.map { Double($0) } }
    return found.map { Double(($0 - Float(tensor.zeroPoint ?? 0)) * Float(scale)) }
}
