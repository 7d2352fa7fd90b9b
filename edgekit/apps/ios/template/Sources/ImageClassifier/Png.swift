import Compression
import Foundation

/// Decodes PNG files to RGBA of 8 bits, exactly: the system multiplies colours by their opacity,
/// applies colour profiles, and rounds 16 bits in ways of its own; here, nothing of this is done.
struct Png {
    static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    private var width = 0
    private var height = 0
    private var depth = 0
    private var type = 0
    private var interlaced = false
    private var palette: [UInt8] = []
    private var clear: [UInt8]?
    private var packed: [UInt8] = []

    private static let channels = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4]  // by colour type
    // Left, top, and steps across and down.
    private static let whole = [(0, 0, 1, 1)]
    private static let passes = [
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]

    /// Pixels that are stored one behind the other.
    private struct Part {
        let left: Int
        let top: Int
        let across: Int
        let down: Int
        let wide: Int
        let tall: Int

        init(_ left: Int, _ top: Int, _ across: Int, _ down: Int, width: Int, height: Int) {
            self.left = left
            self.top = top
            self.across = across
            self.down = down
            wide = (width - left + across - 1) / across
            tall = (height - top + down - 1) / down
        }
    }

    init(_ bytes: [UInt8]) throws {
        var at = Png.signature.count
        while at + 12 <= bytes.count {
            let size = Png.number(bytes, at)
            guard size <= bytes.count - at - 8 else { break }
            let name = String(decoding: bytes[(at + 4)..<(at + 8)], as: UTF8.self)
            let inside = Array(bytes[(at + 8)..<(at + 8 + size)])
            switch name {
            case "IHDR" where size == 13:
                width = Png.number(inside, 0)
                height = Png.number(inside, 4)
                depth = Int(inside[8])
                type = Int(inside[9])
                interlaced = inside[12] == 1
            case "PLTE": palette = inside
            case "tRNS": clear = inside
            case "IDAT": packed += inside
            default: break
            }
            if name == "IEND" { break }
            at += 12 + size
        }
        try Pixels.check(width: width, height: height)
        guard Png.channels[type] != nil, [1, 2, 4, 8, 16].contains(depth) else {
            throw ImageError("the image is damaged: there are no such pixels")
        }
    }

    func decoded() throws -> Pixels {
        let channels = Png.channels[type]!
        let bits = channels * depth
        let parts = (interlaced ? Png.passes : Png.whole).map {
            Part($0.0, $0.1, $0.2, $0.3, width: width, height: height)
        }.filter { $0.wide > 0 && $0.tall > 0 }
        let size = parts.reduce(0) { $0 + $1.tall * (1 + ($1.wide * bits + 7) / 8) }
        let rows = try inflated(size)
        var found = Pixels(width: width, height: height, channels: 4)
        var at = 0
        for part in parts {
            let count = 1 + (part.wide * bits + 7) / 8
            var above = [UInt8](repeating: 0, count: count)
            for y in 0..<part.tall {
                var row = Array(rows[at..<(at + count)])
                try Png.unfilter(&row, above, max(1, bits / 8))
                let start = 4 * ((part.top + y * part.down) * width + part.left)
                paint(row, part.wide, &found.data, start, 4 * part.across)
                above = row
                at += count
            }
        }
        return found
    }

    private static func number(_ bytes: [UInt8], _ at: Int) -> Int {
        bytes[at..<(at + 4)].reduce(0) { $0 << 8 | Int($1) }
    }

    private func inflated(_ size: Int) throws -> [UInt8] {
        // What the system unpacks has no header, which has two bytes.
        guard packed.count > 2 else { throw ImageError("the image is damaged: pixels are missing") }
        var found = [UInt8](repeating: 0, count: size)
        let count = packed.withUnsafeBufferPointer { source in
            compression_decode_buffer(
                &found, size, source.baseAddress! + 2, packed.count - 2, nil, COMPRESSION_ZLIB)
        }
        guard count == size else { throw ImageError("the image is damaged: pixels are missing") }
        return found
    }

    /// Undoes the filter of a row (PNG specification, 9.2); its first byte says which one.
    private static func unfilter(_ row: inout [UInt8], _ above: [UInt8], _ pixel: Int) throws {
        let kind = row[0]
        guard kind <= 4 else { throw ImageError("the image is damaged: there is no such filter") }
        if kind == 0 { return }
        for i in 1..<row.count {
            let left = i > pixel ? Int(row[i - pixel]) : 0
            let up = Int(above[i])
            let added: Int
            switch kind {
            case 1: added = left
            case 2: added = up
            case 3: added = (left + up) >> 1
            default: added = nearest(left, up, i > pixel ? Int(above[i - pixel]) : 0)
            }
            row[i] = UInt8(truncatingIfNeeded: Int(row[i]) + added)
        }
    }

    private static func nearest(_ left: Int, _ up: Int, _ corner: Int) -> Int {
        let (a, b, c) = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
        if a <= b && a <= c { return left }
        return b <= c ? up : corner
    }

    /// Writes the pixels of a row, whose first byte is none, in RGBA.
    private func paint(
        _ row: [UInt8], _ count: Int, _ data: inout [UInt8], _ start: Int, _ step: Int
    ) {
        let channels = Png.channels[type]!
        let most = (1 << depth) - 1

        func sample(_ i: Int) -> Int {
            if depth == 8 { return Int(row[1 + i]) }
            if depth == 16 { return Int(row[1 + 2 * i]) << 8 | Int(row[2 + 2 * i]) }
            return Int(row[1 + (i * depth) >> 3]) >> (8 - depth - (i * depth) & 7) & most
        }

        // Grey of 16 bits is scaled; of colours, and of grey with opacity, the upper half is taken.
        func to8(_ value: Int) -> UInt8 {
            if depth == 16 { return UInt8(type == 0 ? (value + 128) / 257 : value >> 8) }
            return UInt8(value * 255 / most)
        }

        func key(_ i: Int) -> Int {
            guard let clear, clear.count >= 2 * i + 2 else { return -1 }
            return Int(clear[2 * i]) << 8 | Int(clear[2 * i + 1])
        }

        let keys = [key(0), key(1), key(2)]
        var at = start
        for x in 0..<count {
            let i = x * channels
            let first = sample(i)
            if type == 3 {
                for c in 0..<3 {
                    let place = 3 * first + c
                    data[at + c] = place < palette.count ? palette[place] : 0
                }
                if let clear, first < clear.count {
                    data[at + 3] = clear[first]
                } else {
                    data[at + 3] = 255
                }
            } else if channels < 3 {
                for c in 0..<3 { data[at + c] = to8(first) }
                data[at + 3] = channels == 2 ? to8(sample(i + 1)) : first == keys[0] ? 0 : 255
            } else {
                let all = [first, sample(i + 1), sample(i + 2)]
                for c in 0..<3 { data[at + c] = to8(all[c]) }
                data[at + 3] = channels == 4 ? to8(sample(i + 3)) : all == keys ? 0 : 255
            }
            at += step
        }
    }
}
