import Foundation

/// An image, in RGBA, in the network's size: transparency, grey and size, all of it in integers.
/// The result has the network's channels, RGB where these are colours.
public func finishedPixels(_ image: Pixels, _ how: Preprocessing) throws -> Pixels {
    if how.fit == .letterbox { return letterboxed(image, how) }
    let (height, width) = (image.height, image.width)
    var whole = Size(height: height, width: width)
    if how.fit == .stretch {
        whole = how.resize ?? how.crop
    } else if let least = how.resize {
        let byHeight = least.height * width >= least.width * height
        let part = byHeight ? least.height : least.width
        let of = byHeight ? height : width
        whole = Size(
            height: inProportion(height, part, of), width: inProportion(width, part, of))
    }
    guard whole.height >= how.crop.height, whole.width >= how.crop.width else {
        throw ImageError(
            "the image is \(whole.width) x \(whole.height) px where the network takes "
                + "\(how.crop.width) x \(how.crop.height): give a larger one")
    }
    let (top, bottom) = middle(height, whole.height, how.crop.height)
    let (left, right) = middle(width, whole.width, how.crop.width)
    let box = Box(left: left, top: top, right: right, bottom: bottom)
    return resample(withChannels(image, how), to: how.crop, box: box, by: how.interpolation)
}

/// Finished pixels as the network takes them: scale, mean, standard deviation and axes.
public func values(_ pixels: Pixels, _ how: Preprocessing) -> [Float] {
    let channels = pixels.channels
    let area = pixels.width * pixels.height
    let blueFirst = how.channelOrder == .BGR || how.channelOrder == .BGRA
    var found = [Float](repeating: 0, count: pixels.data.count)
    for c in 0..<channels {
        let (scale, mean, std) = (Float(how.scale), Float(how.mean[c]), Float(how.std[c]))
        // What becomes of the values 0 to 255 of this channel; each step is rounded to Float.
        let table = (0..<256).map { (Float($0) * scale - mean) / std }
        let source = blueFirst && c < 3 ? 2 - c : c
        for i in 0..<area {
            let to = how.layout == .NCHW ? c * area + i : i * channels + c
            found[to] = table[Int(pixels.data[i * channels + source])]
        }
    }
    return found
}

private func letterboxed(_ image: Pixels, _ how: Preprocessing) -> Pixels {
    let (tall, wide) = (how.crop.height, how.crop.width)
    let byHeight = tall * image.width <= wide * image.height
    let part = byHeight ? tall : wide
    let of = byHeight ? image.height : image.width
    let size = Size(
        height: max(1, inProportion(image.height, part, of)),
        width: max(1, inProportion(image.width, part, of)))
    let all = Box(left: 0, top: 0, right: Double(image.width), bottom: Double(image.height))
    let shown = resample(withChannels(image, how), to: size, box: all, by: how.interpolation)
    var found = Pixels(
        width: wide, height: tall, channels: shown.channels,
        data: [UInt8](repeating: how.pad, count: wide * tall * shown.channels))
    let (top, left) = ((tall - size.height) / 2, (wide - size.width) / 2)
    let count = size.width * shown.channels
    for y in 0..<size.height {
        let to = ((top + y) * wide + left) * shown.channels
        found.data.replaceSubrange(to..<(to + count), with: shown.data[(y * count)..<((y + 1) * count)])
    }
    return found
}

/// Transparency and grey, before anything is resampled.
private func withChannels(_ image: Pixels, _ how: Preprocessing) -> Pixels {
    if how.alpha == .keep { return image }
    let grey = how.channelOrder == .L
    var found = Pixels(width: image.width, height: image.height, channels: grey ? 1 : 3)
    let behind = how.alpha == .white ? 255 : 0
    var to = 0
    for from in stride(from: 0, to: image.data.count, by: 4) {
        let opacity = how.alpha == .drop ? 255 : Int(image.data[from + 3])
        let base = behind * (255 - opacity) + 127
        let red = (Int(image.data[from]) * opacity + base) / 255
        let green = (Int(image.data[from + 1]) * opacity + base) / 255
        let blue = (Int(image.data[from + 2]) * opacity + base) / 255
        if grey {
            found.data[to] = UInt8((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)
        } else {
            found.data[to] = UInt8(red)
            found.data[to + 1] = UInt8(green)
            found.data[to + 2] = UInt8(blue)
        }
        to += found.channels
    }
    return found
}

/// `side * part / whole`, rounded half up in integers.
private func inProportion(_ side: Int, _ part: Int, _ whole: Int) -> Int {
    (2 * side * part + whole) / (2 * whole)
}

/// Edges of the middle along one axis, in pixels of the image before it is resized.
private func middle(_ side: Int, _ resized: Int, _ crop: Int) -> (Double, Double) {
    let offset = (resized - crop) / 2
    return (
        Double(offset * side) / Double(resized), Double((offset + crop) * side) / Double(resized)
    )
}
