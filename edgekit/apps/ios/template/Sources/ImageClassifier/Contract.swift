import Foundation

/// Height and width, in pixels.
public struct Size: Decodable, Equatable {
    public let height: Int
    public let width: Int

    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }

    /// A list of both, or one number for a square.
    public init(from decoder: Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let side = try? value.decode(Int.self) {
            self.init(height: side, width: side)
        } else {
            let sides = try value.decode([Int].self)
            guard sides.count == 2 else {
                throw DecodingError.dataCorruptedError(in: value, debugDescription: "no size")
            }
            self.init(height: sides[0], width: sides[1])
        }
    }
}

/// How an image becomes the network's input.
public struct Preprocessing: Decodable {
    public enum Fit: String, Decodable { case crop, stretch, letterbox }
    public enum Interpolation: String, Decodable { case nearest, bilinear, bicubic, area }
    public enum Alpha: String, Decodable { case black, white, drop, keep }
    public enum Exif: String, Decodable { case upright, ignore }
    public enum Layout: String, Decodable { case NCHW, NHWC }
    public enum ChannelOrder: String, Decodable { case RGB, BGR, L, RGBA, BGRA }

    public let fit: Fit
    /// For `crop` the least size after resizing in proportion, for `stretch` the size before the
    /// middle is cut out; nil for none.
    public let resize: Size?
    /// The network's size.
    public let crop: Size
    /// Of all channels, around an image that is letterboxed.
    public let pad: UInt8
    public let interpolation: Interpolation
    public let exif: Exif
    /// What transparency becomes.
    public let alpha: Alpha
    public let channelOrder: ChannelOrder
    /// A value becomes (v * scale - mean) / std, in this order, each rounded to float.
    public let scale: Double
    public let mean: [Double]
    public let std: [Double]
    public let layout: Layout

    enum CodingKeys: String, CodingKey {
        case fit, resize, crop, pad, interpolation, exif, alpha, scale, mean, std, layout
        case channelOrder = "channel_order"
    }

    public var channels: Int {
        switch channelOrder {
        case .L: return 1
        case .RGB, .BGR: return 3
        case .RGBA, .BGRA: return 4
        }
    }
}

/// The network's input or output.
public struct Tensor: Decodable {
    public enum Kind: String, Decodable { case float32, int8, uint8 }

    public let dtype: Kind
    /// The batch, of one, first.
    public let shape: [Int]
    /// Of integers that stand for real numbers: (integer - zero point) * scale.
    public let scale: Double?
    public let zeroPoint: Int?

    enum CodingKeys: String, CodingKey {
        case dtype, shape, scale
        case zeroPoint = "zero_point"
    }

    public var count: Int { shape.reduce(1, *) }
    public var bytes: Int { count * (dtype == .float32 ? 4 : 1) }
}

public enum Scores: String, Decodable { case logits, probabilities, sigmoid }

/// What the contract beside the model says.
public struct Contract: Decodable {
    public let preprocessing: Preprocessing
    public let inputs: [Tensor]
    public let outputs: [Tensor]
    public let scores: Scores
    /// Names of classes, which are text from anywhere; nil where they have none.
    public let labels: [String]?
    public let sizeBytes: Int

    enum CodingKeys: String, CodingKey {
        case preprocessing, inputs, outputs, scores, labels
        case sizeBytes = "size_bytes"
    }
}

/// The model or its contract cannot be loaded or run; the message says why.
public struct ModelError: LocalizedError {
    public let errorDescription: String?

    public init(_ message: String) {
        errorDescription = message
    }
}
