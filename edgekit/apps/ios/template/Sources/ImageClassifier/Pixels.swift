import CoreGraphics
import Foundation
import ImageIO

/// An image that cannot be used; the message says why.
public struct ImageError: LocalizedError {
    public let errorDescription: String?

    public init(_ message: String) {
        errorDescription = message
    }
}

/// Pixels of 8 bits: rows of pixels, channels of a pixel side by side.
public struct Pixels {
    public let width: Int
    public let height: Int
    public let channels: Int
    public var data: [UInt8]

    public init(width: Int, height: Int, channels: Int) {
        self.init(
            width: width, height: height, channels: channels,
            data: [UInt8](repeating: 0, count: width * height * channels))
    }

    public init(width: Int, height: Int, channels: Int, data: [UInt8]) {
        self.width = width
        self.height = height
        self.channels = channels
        self.data = data
    }

    /// A phone's 50 megapixels; a few kilobytes can stand for any number of pixels.
    static let most = 51_000_000

    static func check(width: Int, height: Int) throws {
        if width == 0 || height == 0 { throw ImageError("the image is damaged: it has no pixels") }
        if width > most || height > most || width * height > most {
            throw ImageError(
                "the image is \(width) x \(height) px, which is too large: "
                    + "expected at most \(most / 1_000_000) megapixels")
        }
    }
}

extension Pixels {
    /// An image file in RGBA; where `upright`, turned as its EXIF orientation says. PNG files are
    /// decoded by the app itself, others by the system.
    public init(file: Data, upright: Bool) throws {
        guard let source = CGImageSourceCreateWithData(file as CFData, nil),
            let about = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
            let width = about[kCGImagePropertyPixelWidth] as? Int,
            let height = about[kCGImagePropertyPixelHeight] as? Int
        else { throw ImageError("it is no image, or a damaged one") }
        try Pixels.check(width: width, height: height)
        var found: Pixels
        let bytes = [UInt8](file)
        if [UInt8](bytes.prefix(8)) == Png.signature {
            found = try Png(bytes).decoded()
        } else if let image = CGImageSourceCreateImageAtIndex(source, 0, nil) {
            found = try Pixels(image: image)
        } else {
            throw ImageError("the image is damaged")
        }
        let orientation =
            Exif.orientation(file: bytes) ?? about[kCGImagePropertyOrientation] as? Int ?? 1
        self = upright ? found.turned(orientation) : found
    }

    /// An image of the system in RGBA, in its own colours. Half transparent colours are off by a
    /// little: the system multiplies them by their opacity.
    public init(image: CGImage) throws {
        try Pixels.check(width: image.width, height: image.height)
        var found = Pixels(width: image.width, height: image.height, channels: 4)
        let grey = image.colorSpace?.model != .rgb
        guard let space = grey ? CGColorSpace(name: CGColorSpace.sRGB) : image.colorSpace else {
            throw ImageError("the image has colours that are not known here")
        }
        let drawn = found.data.withUnsafeMutableBytes { bytes -> Bool in
            guard
                let context = CGContext(
                    data: bytes.baseAddress, width: image.width, height: image.height,
                    bitsPerComponent: 8, bytesPerRow: 4 * image.width, space: space,
                    bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
            else { return false }
            context.setBlendMode(.copy)
            context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return true
        }
        guard drawn else { throw ImageError("the image is of a kind that is not known here") }
        for i in stride(from: 0, to: found.data.count, by: 4) {
            let opacity = Int(found.data[i + 3])
            if opacity == 0 || opacity == 255 { continue }
            for c in i..<(i + 3) {
                found.data[c] = UInt8(min(255, (Int(found.data[c]) * 255 + opacity / 2) / opacity))
            }
        }
        self = found
    }

    /// The image turned by an EXIF orientation, 1 (as it is) to 8.
    public func turned(_ orientation: Int) -> Pixels {
        guard (2...8).contains(orientation) else { return self }
        let across = orientation > 4  // rows become columns
        let mirrored = [2, 3, 7, 8].contains(orientation)  // along the image's own rows
        let upended = [3, 4, 6, 7].contains(orientation)  // along its columns
        var found = Pixels(
            width: across ? height : width, height: across ? width : height, channels: channels)
        var to = 0
        for y in 0..<found.height {
            for x in 0..<found.width {
                let (u, v) = across ? (y, x) : (x, y)
                let column = mirrored ? width - 1 - u : u
                let row = upended ? height - 1 - v : v
                let from = (row * width + column) * channels
                for c in 0..<channels { found.data[to + c] = data[from + c] }
                to += channels
            }
        }
        return found
    }
}
