package classifier

/** A phone's 50 megapixels; a few kilobytes can stand for any number of pixels. */
const val MAX_PIXELS = 51_000_000L

/** An image that cannot be used; the message says why. */
class ImageError(
    message: String,
    cause: Throwable? = null,
) : Exception(message, cause)

/** Pixels of 8 bits: rows of pixels, channels of a pixel side by side. */
class Image(
    val width: Int,
    val height: Int,
    val channels: Int,
    val data: ByteArray = ByteArray(width * height * channels),
)

/** Decodes JPEG, BMP, WebP and GIF files to RGBA; colours are not multiplied by the opacity. */
fun interface Decoder {
    /** As the file has it, whatever its EXIF orientation says. Null where it is damaged. */
    fun decode(bytes: ByteArray): Image?
}

/** An image file in RGBA, turned as its EXIF orientation says where [upright]. */
fun decodeImage(
    bytes: ByteArray,
    upright: Boolean,
    decoder: Decoder,
): Image {
    val header = header(bytes)
    val image =
        if (header.png) {
            decodePng(bytes)
        } else {
            decoder.decode(bytes) ?: throw ImageError("the image is damaged, or of a kind that is not known here")
        }
    return if (upright) turned(image, header.orientation) else image
}

/** An image turned by an EXIF orientation, 1 (as it is) to 8. */
fun turned(
    image: Image,
    orientation: Int,
): Image {
    if (orientation !in 2..8) return image
    val across = orientation > 4 // rows become columns
    val mirrored = orientation in setOf(2, 3, 7, 8) // along the image's own rows
    val upended = orientation in setOf(3, 4, 6, 7) // along its columns
    val channels = image.channels
    val found =
        Image(
            if (across) image.height else image.width,
            if (across) image.width else image.height,
            channels,
        )
    var to = 0
    for (y in 0 until found.height) {
        for (x in 0 until found.width) {
            val u = if (across) y else x
            val v = if (across) x else y
            val column = if (mirrored) image.width - 1 - u else u
            val row = if (upended) image.height - 1 - v else v
            val from = (row * image.width + column) * channels
            for (c in 0 until channels) found.data[to + c] = image.data[from + c]
            to += channels
        }
    }
    return found
}
