package classifier

/**
 * An image in the network's size: transparency, grey and size, all of it in integers.
 *
 * @param image in RGBA.
 * @return with the network's channels, RGB where these are colours.
 */
fun finishedPixels(
    image: Image,
    how: Preprocessing,
): Image {
    if (how.fit == Fit.LETTERBOX) return letterboxed(image, how)
    val (height, width) = Size(image.height, image.width)
    val whole =
        when {
            how.fit == Fit.STRETCH -> {
                how.resize ?: how.crop
            }

            how.resize == null -> {
                Size(height, width)
            }

            else -> {
                val (leastHeight, leastWidth) = how.resize
                val byHeight = leastHeight.toLong() * width >= leastWidth.toLong() * height
                val part = if (byHeight) leastHeight else leastWidth
                val of = if (byHeight) height else width
                Size(inProportion(height, part, of), inProportion(width, part, of))
            }
        }
    val (tall, wide) = how.crop
    if (whole.height < tall || whole.width < wide) {
        throw ImageError(
            "the image is ${whole.width} x ${whole.height} px where the network takes " +
                "$wide x $tall: give a larger one",
        )
    }
    val (top, bottom) = middle(height, whole.height, tall)
    val (left, right) = middle(width, whole.width, wide)
    return resample(channels(image, how), how.crop, Box(left, top, right, bottom), how.interpolation)
}

/** Finished pixels as the network takes them: scale, mean, standard deviation and axes. */
fun values(
    pixels: Image,
    how: Preprocessing,
): FloatArray {
    val channels = pixels.channels
    val area = pixels.width * pixels.height
    val found = FloatArray(pixels.data.size)
    for (c in 0 until channels) {
        val scale = how.scale.toFloat()
        val mean = how.mean[c].toFloat()
        val std = how.std[c].toFloat()
        // What becomes of the values 0 to 255 of this channel; each step is rounded to float.
        val table = FloatArray(256) { (it.toFloat() * scale - mean) / std }
        val source = if (how.blueFirst && c < 3) 2 - c else c
        for (i in 0 until area) {
            val to = if (how.planes) c * area + i else i * channels + c
            found[to] = table[pixels.data[i * channels + source].toInt() and 0xFF]
        }
    }
    return found
}

private fun letterboxed(
    image: Image,
    how: Preprocessing,
): Image {
    val (tall, wide) = how.crop
    val byHeight = tall.toLong() * image.width <= wide.toLong() * image.height
    val part = if (byHeight) tall else wide
    val of = if (byHeight) image.height else image.width
    val size =
        Size(maxOf(1, inProportion(image.height, part, of)), maxOf(1, inProportion(image.width, part, of)))
    val all = Box(0.0, 0.0, image.width.toDouble(), image.height.toDouble())
    val shown = resample(channels(image, how), size, all, how.interpolation)
    val found = Image(wide, tall, shown.channels)
    found.data.fill(how.pad.toByte())
    val top = (tall - size.height) / 2
    val left = (wide - size.width) / 2
    val count = size.width * shown.channels
    for (y in 0 until size.height) {
        val to = ((top + y) * wide + left) * shown.channels
        shown.data.copyInto(found.data, to, y * count, (y + 1) * count)
    }
    return found
}

/** Transparency and grey, before anything is resampled. */
private fun channels(
    image: Image,
    how: Preprocessing,
): Image {
    if (how.alpha == Alpha.KEEP) return image
    val found = Image(image.width, image.height, if (how.grey) 1 else 3)
    val behind = if (how.alpha == Alpha.WHITE) 255 else 0
    val data = image.data
    var to = 0
    for (from in data.indices step 4) {
        val opacity = if (how.alpha == Alpha.DROP) 255 else data[from + 3].toInt() and 0xFF
        val base = behind * (255 - opacity) + 127
        val red = ((data[from].toInt() and 0xFF) * opacity + base) / 255
        val green = ((data[from + 1].toInt() and 0xFF) * opacity + base) / 255
        val blue = ((data[from + 2].toInt() and 0xFF) * opacity + base) / 255
        if (how.grey) {
            found.data[to++] = ((19595 * red + 38470 * green + 7471 * blue + 32768) shr 16).toByte()
        } else {
            found.data[to++] = red.toByte()
            found.data[to++] = green.toByte()
            found.data[to++] = blue.toByte()
        }
    }
    return found
}

/** `side * part / whole`, rounded half up in integers. */
private fun inProportion(
    side: Int,
    part: Int,
    whole: Int,
): Int = ((2L * side * part + whole) / (2L * whole)).toInt()

/** Edges of the middle along one axis, in pixels of the image before it is resized. */
private fun middle(
    side: Int,
    resized: Int,
    crop: Int,
): Pair<Double, Double> {
    val offset = ((resized - crop) / 2).toLong()
    return (offset * side).toDouble() / resized to ((offset + crop) * side).toDouble() / resized
}
