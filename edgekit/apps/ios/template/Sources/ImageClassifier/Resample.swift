import Foundation

/// Edges of a part of an image, in pixels; they may lie inside pixels.
struct Box {
    let left: Double
    let top: Double
    let right: Double
    let bottom: Double
}

/// A part of an image in another size, in integers, exactly as edgekit does it: its width first,
/// then its height. Pixels outside count where the filter reaches them.
func resample(
    _ image: Pixels, to size: Size, box: Box, by filter: Preprocessing.Interpolation
) -> Pixels {
    let across = taps(image.width, size.width, box.left, box.right, filter)
    let down = taps(image.height, size.height, box.top, box.bottom, filter)
    let channels = image.channels
    // Rows that no row of the result is made of need not become narrow.
    let from = down.map { $0.begin }.min() ?? 0
    let to = down.map { $0.begin + $0.weights.count }.max() ?? 0
    let count = size.width * channels
    var narrow = [UInt8](repeating: 0, count: (to - from) * count)
    var place = 0
    for y in from..<to {
        let row = y * image.width * channels
        for tap in across {
            for c in 0..<channels {
                var pixel = row + tap.begin * channels + c
                var total = half
                for weight in tap.weights {
                    total += Int(image.data[pixel]) * weight
                    pixel += channels
                }
                narrow[place] = value(total)
                place += 1
            }
        }
    }
    var found = Pixels(width: size.width, height: size.height, channels: channels)
    place = 0
    for tap in down {
        for i in 0..<count {
            var total = half
            var at = (tap.begin - from) * count + i
            for weight in tap.weights {
                total += Int(narrow[at]) * weight
                at += count
            }
            found.data[place] = value(total)
            place += 1
        }
    }
    return found
}

private let precisionBits = 22  // behind the point of a weight
private let one = 1 << precisionBits
private let half = one >> 1

/// What one row (or column) of the result is made of: rows from `begin` on, each times its weight.
private struct Tap {
    let begin: Int
    let weights: [Int]
}

private func value(_ total: Int) -> UInt8 {
    UInt8(min(max(total >> precisionBits, 0), 255))
}

/// What each of `count` values is made of, between two edges of `size` pixels.
private func taps(
    _ size: Int, _ count: Int, _ first: Double, _ last: Double,
    _ filter: Preprocessing.Interpolation
) -> [Tap] {
    if first == 0 && last == Double(size) && count == size {
        return (0..<count).map { Tap(begin: $0, weights: [one]) }
    }
    // Edges, and their distance, are rounded to Float; all else is Double.
    let upper = Float(first)
    let start = Double(upper)
    let step = Double(Float(last) - upper) / Double(count)
    if filter == .nearest {
        var place = start + step * 0.5
        return (0..<count).map { _ in
            // Added up: a product has other last bits.
            let tap = Tap(begin: min(Int(place), size - 1), weights: [one])
            place += step
            return tap
        }
    }
    // A filter widens where it shrinks an image, and narrows nowhere.
    return (0..<count).map {
        filtered(size, filter, start + (Double($0) + 0.5) * step, max(step, 1))
    }
}

private func filtered(
    _ size: Int, _ filter: Preprocessing.Interpolation, _ centre: Double, _ stretch: Double
) -> Tap {
    let reach = (filter == .area ? 0.5 : filter == .bilinear ? 1.0 : 2.0) * stretch
    let perPixel = 1.0 / stretch
    let begin = max(Int(centre - reach + 0.5), 0)
    let end = min(Int(centre + reach + 0.5), size)
    let shares = (begin..<end).map { weight(filter, (Double($0) - centre + 0.5) * perPixel) }
    let total = shares.reduce(0, +)
    return Tap(begin: begin, weights: shares.map { awayFromZero($0 / total * Double(one)) })
}

private func awayFromZero(_ x: Double) -> Int {
    Int(x >= 0 ? (x + 0.5).rounded(.down) : (x - 0.5).rounded(.up))
}

private func weight(_ filter: Preprocessing.Interpolation, _ place: Double) -> Double {
    if filter == .area { return place > -0.5 && place <= 0.5 ? 1 : 0 }
    let x = abs(place)
    if filter == .bilinear { return max(0, 1 - x) }
    // Keys' cubic with a = -0.5 (IEEE Transactions ASSP 29(6), 1981, equation 15).
    if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
}
