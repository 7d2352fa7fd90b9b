import Foundation
import ImageClassifier
import OnnxRuntimeBindings

/// Runs the model in ONNX Runtime, on the processor.
public final class ModelRuntime: Runtime {
    public let name = "ONNX Runtime"
    private let environment: ORTEnv
    private let session: ORTSession
    private let contract: Contract
    private let input: String
    private let output: String

    public init(file: URL, contract: Contract, threads: Int) throws {
        self.contract = contract
        environment = try ORTEnv(loggingLevel: .warning)
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(Int32(threads))
        session = try ORTSession(env: environment, modelPath: file.path, sessionOptions: options)
        guard let input = try session.inputNames().first,
            let output = try session.outputNames().first
        else { throw ModelError("\(file.lastPathComponent) has no input or no output") }
        self.input = input
        self.output = output
    }

    public func run(_ data: Data) throws -> Data {
        let kind: ORTTensorElementDataType
        switch contract.inputs[0].dtype {
        case .float32: kind = .float
        case .int8: kind = .int8
        case .uint8: kind = .uInt8
        }
        let tensor = try ORTValue(
            tensorData: NSMutableData(data: data), elementType: kind,
            shape: contract.inputs[0].shape.map { NSNumber(value: $0) })
        let made = try session.run(
            withInputs: [input: tensor], outputNames: [output], runOptions: nil)
        guard let value = made[output] else { throw ModelError("the model gave no output") }
        return try value.tensorData() as Data
    }
}
