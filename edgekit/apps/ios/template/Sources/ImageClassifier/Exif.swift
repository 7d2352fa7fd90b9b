/// What EXIF blocks of image files say of how images are turned. The system would look at XMP as
/// well, which the contract does not.
enum Exif {
    /// The orientation by the EXIF block of a PNG, JPEG, GIF, BMP or WebP file, 1 (upright) where it
    /// has none; nil of files of other kinds.
    static func orientation(file: [UInt8]) -> Int? {
        if says(file, 0, Png.signature) { return png(file) }
        if says(file, 0, [0xFF, 0xD8, 0xFF]) { return jpeg(file) }
        if says(file, 0, Array("RIFF".utf8)) && says(file, 8, Array("WEBP".utf8)) {
            return webp(file)
        }
        if says(file, 0, Array("GIF8".utf8)) || says(file, 0, Array("BM".utf8)) { return 1 }
        return nil
    }

    private static let name = Array("Exif".utf8) + [0, 0]

    private static func png(_ file: [UInt8]) -> Int {
        var found = 1
        var at = Png.signature.count
        while let size = number(file, at, 4, little: false), at + 12 <= file.count {
            if says(file, at + 4, Array("eXIf".utf8)) {
                found = orientation(block: part(file, at + 8, at + 8 + size))
            }
            at += 12 + size
        }
        return found
    }

    private static func jpeg(_ file: [UInt8]) -> Int {
        var at = 2
        while at + 4 <= file.count, file[at] == 0xFF {
            let marker = file[at + 1]
            if marker == 0xFF {  // filling
                at += 1
                continue
            }
            if marker == 0xDA || marker == 0xD9 { return 1 }
            let end = at + 2 + (number(file, at + 2, 2, little: false) ?? 0)
            if marker == 0xE1 && says(file, at + 4, name) {  // the first block counts
                return orientation(block: part(file, at + 10, end))
            }
            at = end
        }
        return 1
    }

    private static func webp(_ file: [UInt8]) -> Int {
        var at = 12
        while let size = number(file, at + 4, 4, little: true) {
            if says(file, at, Array("EXIF".utf8)) {
                let start = says(file, at + 8, name) ? at + 14 : at + 8
                return orientation(block: part(file, start, at + 8 + size))
            }
            at += 8 + size + size % 2
        }
        return 1
    }

    private static func orientation(block: [UInt8]) -> Int {
        let little = says(block, 0, [0x49, 0x49, 0x2A, 0])
        guard little || says(block, 0, [0x4D, 0x4D, 0, 0x2A]),
            let folder = number(block, 4, 4, little: little),
            let count = number(block, folder, 2, little: little)
        else { return 1 }
        for i in 0..<count {
            let entry = folder + 2 + 12 * i
            guard entry + 12 <= block.count, let tag = number(block, entry, 2, little: little)
            else { return 1 }
            if tag != 0x0112 { continue }
            let type = number(block, entry + 2, 2, little: little)
            let values = number(block, entry + 4, 4, little: little)
            guard values == 1, type == 3 || type == 4 else { return 1 }  // one short, or long
            let found = number(block, entry + 8, type == 3 ? 2 : 4, little: little) ?? 1
            return (1...8).contains(found) ? found : 1
        }
        return 1
    }

    private static func says(_ bytes: [UInt8], _ at: Int, _ text: [UInt8]) -> Bool {
        at + text.count <= bytes.count && Array(bytes[at..<(at + text.count)]) == text
    }

    private static func part(_ bytes: [UInt8], _ from: Int, _ to: Int) -> [UInt8] {
        let start = min(from, bytes.count)
        return Array(bytes[start..<max(start, min(to, bytes.count))])
    }

    /// A number of so many bytes; nil behind the end.
    private static func number(_ bytes: [UInt8], _ at: Int, _ count: Int, little: Bool) -> Int? {
        if at + count > bytes.count { return nil }
        var found = 0
        for i in 0..<count {
            found = found << 8 | Int(bytes[at + (little ? count - 1 - i : i)])
        }
        return found
    }
}
