package classifier

import kotlin.math.abs

/**
 * What the beginning of an image file says. It is read before anything is decoded, since a few
 * kilobytes can stand for any number of pixels.
 *
 * @property orientation of EXIF, 1 (upright) where the file has none.
 */
class Header(
    val png: Boolean,
    val width: Long,
    val height: Long,
    val orientation: Int = 1,
)

/** The header of a PNG, JPEG, GIF, BMP or WebP file. */
fun header(bytes: ByteArray): Header {
    val file = Bytes(bytes)
    val found =
        try {
            png(file) ?: jpeg(file) ?: gif(file) ?: bmp(file) ?: webp(file)
        } catch (_: IndexOutOfBoundsException) {
            throw ImageError("the image is damaged: it ends in its header")
        }
    if (found == null) throw ImageError("it is no image: expected a JPEG, PNG, BMP, WebP or GIF file")
    checkSize(found.width, found.height)
    return found
}

fun checkSize(
    width: Long,
    height: Long,
) {
    if (width == 0L || height == 0L) throw ImageError("the image is damaged: it has no pixels")
    if (width > MAX_PIXELS || height > MAX_PIXELS || width * height > MAX_PIXELS) {
        throw ImageError(
            "the image is $width x $height px, which is too large: " +
                "expected at most ${MAX_PIXELS / 1_000_000} megapixels",
        )
    }
}

/** The least power of two that leaves at most [most] pixels a side of an image. */
fun reduction(
    width: Long,
    height: Long,
    most: Int,
): Int {
    var found = 1
    while (maxOf(width, height) > most.toLong() * found) found *= 2
    return found
}

/** Numbers in a file; what lies behind its end is an IndexOutOfBoundsException. */
internal class Bytes(
    val all: ByteArray,
) {
    val size: Int get() = all.size

    fun byte(at: Int): Int = all[at].toInt() and 0xFF

    /** A number of so many bytes. */
    fun number(
        at: Int,
        count: Int,
        little: Boolean = false,
    ): Long {
        var found = 0L
        for (i in 0 until count) {
            found = found shl 8 or byte(at + if (little) count - 1 - i else i).toLong()
        }
        return found
    }

    /** A number that is a place, or a count of bytes, in a file. */
    fun place(
        at: Int,
        count: Int,
        little: Boolean = false,
    ): Int {
        val found = number(at, count, little)
        if (found > Int.MAX_VALUE) throw IndexOutOfBoundsException()
        return found.toInt()
    }

    fun says(
        at: Int,
        text: String,
    ): Boolean = at >= 0 && at + text.length <= size && text.indices.all { byte(at + it) == text[it].code }
}

/** Where something ends that begins somewhere; it may lie behind the end of the file. */
private fun after(
    at: Int,
    count: Int,
): Int = (at.toLong() + count).coerceAtMost(Int.MAX_VALUE.toLong()).toInt()

private fun png(file: Bytes): Header? {
    if (!file.says(0, PNG)) return null
    if (!file.says(12, "IHDR")) throw ImageError("the image is damaged: it has no header")
    var orientation = 1
    var at = PNG.length
    while (at <= file.size - 12) {
        val size = file.number(at, 4).coerceAtMost(Int.MAX_VALUE.toLong() - 12).toInt()
        if (file.says(at + 4, "eXIf")) orientation = orientation(file, at + 8, after(at + 8, size))
        at = after(at, size + 12)
    }
    return Header(true, file.number(16, 4), file.number(20, 4), orientation)
}

private fun jpeg(file: Bytes): Header? {
    if (!file.says(0, "\u00ff\u00d8\u00ff")) return null
    var orientation: Int? = null // the first EXIF block counts
    var size: Pair<Long, Long>? = null
    var at = 2
    while (true) {
        if (file.byte(at) != 0xFF) throw ImageError("the image is damaged: a marker is missing")
        val marker = file.byte(at + 1)
        if (marker == 0xFF) { // filling
            at += 1
            continue
        }
        if (marker in 0xC0..0xCF && marker !in setOf(0xC4, 0xC8, 0xCC)) {
            size = size ?: Pair(file.number(at + 7, 2), file.number(at + 5, 2))
        } else if (marker == 0xDA || marker == 0xD9) {
            val (width, height) = size ?: throw ImageError("the image is damaged: it has no header")
            return Header(false, width, height, orientation ?: 1)
        }
        val end = after(at, 2 + file.place(at + 2, 2))
        if (marker == 0xE1 && file.says(at + 4, "Exif\u0000\u0000")) {
            orientation = orientation ?: orientation(file, at + 10, end)
        }
        at = end
    }
}

private fun gif(file: Bytes): Header? {
    if (!file.says(0, "GIF87a") && !file.says(0, "GIF89a")) return null
    return Header(false, file.number(6, 2, true), file.number(8, 2, true))
}

private fun bmp(file: Bytes): Header? {
    if (!file.says(0, "BM") || file.size < 26) return null
    if (file.number(14, 4, true) == 12L) {
        return Header(false, file.number(18, 2, true), file.number(20, 2, true))
    }
    val (width, height) = listOf(18, 22).map { abs(file.number(it, 4, true).toInt().toLong()) }
    return Header(false, width, height)
}

private fun webp(file: Bytes): Header? {
    if (!file.says(0, "RIFF") || !file.says(8, "WEBP")) return null
    val (width, height) =
        when {
            file.says(12, "VP8X") -> {
                listOf(24, 27).map { file.number(it, 3, true) + 1 }
            }

            file.says(12, "VP8L") -> {
                val both = file.number(21, 4, true)
                listOf((both and 0x3FFF) + 1, (both shr 14 and 0x3FFF) + 1)
            }

            else -> {
                listOf(26, 28).map { file.number(it, 2, true) and 0x3FFF }
            }
        }
    var orientation: Int? = null
    var at = 12
    while (at <= file.size - 8) {
        val size = file.number(at + 4, 4, true).coerceAtMost(Int.MAX_VALUE.toLong() - 10).toInt()
        if (file.says(at, "EXIF")) {
            val start = if (file.says(at + 8, "Exif\u0000\u0000")) at + 14 else at + 8
            orientation = orientation ?: orientation(file, start, after(at + 8, size))
        }
        at = after(at, 8 + size + size % 2)
    }
    return Header(false, width, height, orientation ?: 1)
}

/** The orientation of an EXIF block; damaged ones say as little as none. */
private fun orientation(
    file: Bytes,
    start: Int,
    end: Int,
): Int {
    val from = start.coerceAtMost(file.size)
    val block = Bytes(file.all.copyOfRange(from, end.coerceAtMost(file.size).coerceAtLeast(from)))
    try {
        val little = block.says(0, "II*\u0000")
        if (!little && !block.says(0, "MM\u0000*")) return 1
        val folder = block.place(4, 4, little)
        for (i in 0 until block.place(folder, 2, little)) {
            val entry = after(folder, 2 + 12 * i)
            if (block.number(entry, 2, little) != 0x0112L) continue
            val type = block.number(entry + 2, 2, little)
            if (block.number(entry + 4, 4, little) != 1L || type !in 3L..4L) return 1
            block.byte(entry + 11) // all of the entry has to be there
            val found = block.number(entry + 8, if (type == 3L) 2 else 4, little)
            return if (found in 1L..8L) found.toInt() else 1
        }
    } catch (_: IndexOutOfBoundsException) {
        return 1
    }
    return 1
}

internal const val PNG = "\u0089PNG\r\n\u001a\n"
