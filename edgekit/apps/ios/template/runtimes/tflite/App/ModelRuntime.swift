import Foundation
import ImageClassifier
import TensorFlowLite

/// Runs the model in LiteRT, on the processor.
final class ModelRuntime: Runtime {
    let name = "LiteRT"
    private let interpreter: Interpreter

    init(file: URL, contract: Contract, threads: Int) throws {
        var options = Interpreter.Options()
        options.threadCount = threads
        options.isXNNPackEnabled = true
        interpreter = try Interpreter(modelPath: file.path, options: options)
        try interpreter.allocateTensors()
    }

    func run(_ input: Data) throws -> Data {
        try interpreter.copy(input, toInputAt: 0)
        try interpreter.invoke()
        return try interpreter.output(at: 0).data
    }
}
