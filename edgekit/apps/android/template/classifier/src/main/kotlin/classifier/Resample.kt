package classifier

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor

/** Edges of a part of an image, in pixels; they may lie inside pixels. */
internal class Box(
    val left: Double,
    val top: Double,
    val right: Double,
    val bottom: Double,
)

/**
 * A part of an image in another size, in integers, exactly as edgekit does it: its width first,
 * then its height. Pixels outside count where the filter reaches them.
 */
internal fun resample(
    image: Image,
    size: Size,
    box: Box,
    interpolation: Interpolation,
): Image {
    val across = taps(image.width, size.width, box.left, box.right, interpolation)
    val down = taps(image.height, size.height, box.top, box.bottom, interpolation)
    val channels = image.channels
    // Rows that no row of the result is made of need not become narrow.
    val from = down.minOf { it.begin }
    val to = down.maxOf { it.begin + it.weights.size }
    val narrow = ByteArray((to - from) * size.width * channels)
    var place = 0
    for (y in from until to) {
        val row = y * image.width * channels
        for (tap in across) {
            for (c in 0 until channels) {
                var pixel = row + tap.begin * channels + c
                var total = HALF
                for (weight in tap.weights) {
                    total += (image.data[pixel].toInt() and 0xFF) * weight
                    pixel += channels
                }
                narrow[place++] = value(total)
            }
        }
    }
    val found = Image(size.width, size.height, channels)
    val totals = IntArray(size.width * channels)
    place = 0
    for (tap in down) {
        totals.fill(HALF)
        var at = (tap.begin - from) * totals.size
        for (weight in tap.weights) {
            for (i in totals.indices) totals[i] += (narrow[at++].toInt() and 0xFF) * weight
        }
        for (total in totals) found.data[place++] = value(total)
    }
    return found
}

/** Bits behind the point of a weight. */
private const val PRECISION_BITS = 22

private const val ONE = 1 shl PRECISION_BITS

private const val HALF = ONE shr 1

/** What one row (or column) of the result is made of: rows from [begin] on, each times its weight. */
private class Tap(
    val begin: Int,
    val weights: IntArray,
)

private fun value(total: Int): Byte = (total shr PRECISION_BITS).coerceIn(0, 255).toByte()

/** What each of [count] values is made of, between two edges of [size] pixels. */
private fun taps(
    size: Int,
    count: Int,
    first: Double,
    last: Double,
    filter: Interpolation,
): List<Tap> {
    if (first == 0.0 && last == size.toDouble() && count == size) {
        return List(count) { Tap(it, intArrayOf(ONE)) }
    }
    // Edges, and their distance, are rounded to float; all else is double.
    val upper = first.toFloat()
    val start = upper.toDouble()
    val step = (last.toFloat() - upper).toDouble() / count
    if (filter == Interpolation.NEAREST) {
        var place = start + step * 0.5
        return List(count) {
            // Added up: a product has other last bits.
            Tap(minOf(place.toInt(), size - 1), intArrayOf(ONE)).also { place += step }
        }
    }
    // A filter widens where it shrinks an image, and narrows nowhere.
    return List(count) { filtered(size, filter, start + (it + 0.5) * step, maxOf(step, 1.0)) }
}

private fun filtered(
    size: Int,
    filter: Interpolation,
    centre: Double,
    stretch: Double,
): Tap {
    val reach = reach(filter) * stretch
    val perPixel = 1.0 / stretch
    val begin = maxOf((centre - reach + 0.5).toInt(), 0)
    val end = minOf((centre + reach + 0.5).toInt(), size)
    val shares = DoubleArray(end - begin) { weight(filter, (begin + it - centre + 0.5) * perPixel) }
    var total = 0.0
    for (share in shares) total += share
    return Tap(begin, IntArray(shares.size) { awayFromZero(shares[it] / total * ONE) })
}

private fun awayFromZero(x: Double): Int = (if (x >= 0) floor(x + 0.5) else ceil(x - 0.5)).toInt()

private fun reach(filter: Interpolation): Double =
    when (filter) {
        Interpolation.AREA -> 0.5
        Interpolation.BILINEAR -> 1.0
        else -> 2.0
    }

private fun weight(
    filter: Interpolation,
    place: Double,
): Double {
    if (filter == Interpolation.AREA) return if (place > -0.5 && place <= 0.5) 1.0 else 0.0
    val x = abs(place)
    if (filter == Interpolation.BILINEAR) return maxOf(0.0, 1.0 - x)
    // Keys' cubic with a = -0.5 (IEEE Transactions ASSP 29(6), 1981, equation 15).
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1
    return if (x < 2) ((-0.5 * x + 2.5) * x - 4) * x + 2 else 0.0
}
