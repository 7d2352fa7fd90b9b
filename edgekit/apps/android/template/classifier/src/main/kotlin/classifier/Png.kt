package classifier

import java.util.zip.DataFormatException
import java.util.zip.Inflater
import kotlin.math.abs

/**
 * Decodes PNG files to RGBA of 8 bits, exactly: platforms multiply colours by their opacity, apply
 * colour profiles, and round 16 bits in ways of their own; here, nothing of this is done.
 */
internal fun decodePng(bytes: ByteArray): Image {
    val png = chunks(Bytes(bytes))
    if (png.type !in CHANNELS || png.depth !in setOf(1, 2, 4, 8, 16)) {
        throw ImageError("the image is damaged: there are no such pixels")
    }
    val image = Image(png.width, png.height, 4)
    val rows = Rows(png.parts)
    for (pass in if (png.interlaced) INTERLACED else WHOLE) {
        val width = (png.width - pass.left + pass.across - 1) / pass.across
        val height = (png.height - pass.top + pass.down - 1) / pass.down
        if (width <= 0 || height <= 0) continue
        val bits = CHANNELS.getValue(png.type) * png.depth
        var above = ByteArray(1 + (width * bits + 7) / 8)
        var row = ByteArray(above.size)
        for (y in 0 until height) {
            rows.read(row)
            unfilter(row, above, maxOf(1, bits / 8))
            val start = 4 * ((pass.top + y * pass.down) * png.width + pass.left)
            paint(png, row, width, image.data, start, 4 * pass.across)
            above = row.also { row = above }
        }
    }
    rows.end()
    return image
}

private class Png(
    val width: Int,
    val height: Int,
    val depth: Int,
    val type: Int,
    val interlaced: Boolean,
    val palette: ByteArray,
    val clear: ByteArray?,
    val parts: List<ByteArray>,
)

private class Pass(
    val left: Int,
    val top: Int,
    val across: Int,
    val down: Int,
)

/** By colour type. */
private val CHANNELS = mapOf(0 to 1, 2 to 3, 3 to 1, 4 to 2, 6 to 4)

private val WHOLE = listOf(Pass(0, 0, 1, 1))

private val INTERLACED =
    listOf(
        Pass(0, 0, 8, 8),
        Pass(4, 0, 8, 8),
        Pass(0, 4, 4, 8),
        Pass(2, 0, 4, 4),
        Pass(0, 2, 2, 4),
        Pass(1, 0, 2, 2),
        Pass(0, 1, 1, 2),
    )

private fun chunks(file: Bytes): Png {
    var palette = ByteArray(0)
    var clear: ByteArray? = null
    val parts = mutableListOf<ByteArray>()
    var at = PNG.length
    while (at <= file.size - 12 && !file.says(at + 4, "IEND")) {
        val size = minOf(file.number(at, 4), (file.size - at - 8).toLong()).toInt()
        val inside = file.all.copyOfRange(at + 8, at + 8 + size)
        when {
            file.says(at + 4, "PLTE") -> palette = inside
            file.says(at + 4, "tRNS") -> clear = inside
            file.says(at + 4, "IDAT") -> parts += inside
        }
        at += 12 + size
    }
    if (file.size < 29) throw ImageError("the image is damaged: it has no header")
    return Png(
        file.place(16, 4),
        file.place(20, 4),
        file.byte(24),
        file.byte(25),
        file.byte(28) == 1,
        palette,
        clear,
        parts,
    )
}

/** What is packed in several parts. */
private class Rows(
    private val parts: List<ByteArray>,
) {
    private val inflater = Inflater()
    private var part = 0

    fun read(row: ByteArray) {
        var filled = 0
        try {
            while (filled < row.size) {
                val count = inflater.inflate(row, filled, row.size - filled)
                filled += count
                if (count > 0) continue
                if (!inflater.needsInput() || part == parts.size) throw DataFormatException()
                inflater.setInput(parts[part++])
            }
        } catch (error: DataFormatException) {
            inflater.end()
            throw ImageError("the image is damaged: pixels are missing", error)
        }
    }

    fun end() = inflater.end()
}

/** Undoes the filter of a row (PNG specification, 9.2); its first byte says which one. */
private fun unfilter(
    row: ByteArray,
    above: ByteArray,
    pixel: Int,
) {
    val kind = row[0].toInt()
    if (kind !in 0..4) throw ImageError("the image is damaged: there is no such filter")
    if (kind == 0) return
    for (i in 1 until row.size) {
        val left = if (i > pixel) row[i - pixel].toInt() and 0xFF else 0
        val up = above[i].toInt() and 0xFF
        val added =
            when (kind) {
                1 -> left
                2 -> up
                3 -> (left + up) shr 1
                else -> nearest(left, up, if (i > pixel) above[i - pixel].toInt() and 0xFF else 0)
            }
        row[i] = (row[i] + added).toByte()
    }
}

private fun nearest(
    left: Int,
    up: Int,
    corner: Int,
): Int {
    val a = abs(up - corner)
    val b = abs(left - corner)
    val c = abs(left + up - 2 * corner)
    return if (a <= b && a <= c) {
        left
    } else if (b <= c) {
        up
    } else {
        corner
    }
}

/** Writes the pixels of a row, whose first byte is none, in RGBA. */
private fun paint(
    png: Png,
    row: ByteArray,
    width: Int,
    data: ByteArray,
    start: Int,
    step: Int,
) {
    val channels = CHANNELS.getValue(png.type)
    val depth = png.depth
    val most = (1 shl depth) - 1

    fun byte(i: Int) = row[1 + i].toInt() and 0xFF

    fun sample(i: Int) =
        when (depth) {
            8 -> byte(i)
            16 -> byte(2 * i) shl 8 or byte(2 * i + 1)
            else -> byte(i * depth shr 3) shr (8 - depth - (i * depth and 7)) and most
        }

    // Grey of 16 bits is scaled; of colours, and of grey with opacity, the upper half is taken.
    fun to8(value: Int) =
        when {
            depth == 8 -> value
            depth < 8 -> value * 255 / most
            png.type == 0 -> (value + 128) / 257
            else -> value shr 8
        }.toByte()

    val clear = png.clear

    fun key(i: Int) =
        if (clear != null && clear.size >= 2 * i + 2) {
            (clear[2 * i].toInt() and 0xFF shl 8) or (clear[2 * i + 1].toInt() and 0xFF)
        } else {
            -1
        }

    val keys = IntArray(3) { key(it) }
    var at = start
    for (x in 0 until width) {
        val i = x * channels
        val first = sample(i)
        when {
            png.type == 3 -> {
                for (c in 0 until 3) data[at + c] = png.palette.getOrElse(3 * first + c) { 0 }
                data[at + 3] = clear?.getOrNull(first) ?: OPAQUE
            }

            channels < 3 -> {
                for (c in 0 until 3) data[at + c] = to8(first)
                data[at + 3] = if (channels == 2) to8(sample(i + 1)) else opacity(first == keys[0])
            }

            else -> {
                val second = sample(i + 1)
                val third = sample(i + 2)
                data[at] = to8(first)
                data[at + 1] = to8(second)
                data[at + 2] = to8(third)
                val gone = first == keys[0] && second == keys[1] && third == keys[2]
                data[at + 3] = if (channels == 4) to8(sample(i + 3)) else opacity(gone)
            }
        }
        at += step
    }
}

private const val OPAQUE: Byte = -1

private fun opacity(gone: Boolean): Byte = if (gone) 0 else OPAQUE
