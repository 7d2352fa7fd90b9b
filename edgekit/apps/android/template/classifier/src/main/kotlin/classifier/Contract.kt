package classifier

import org.json.JSONArray
import org.json.JSONObject
import java.io.File

/** Height and width, in pixels. */
data class Size(
    val height: Int,
    val width: Int,
)

enum class Fit { CROP, STRETCH, LETTERBOX }

enum class Interpolation { NEAREST, BILINEAR, BICUBIC, AREA }

enum class Alpha { BLACK, WHITE, DROP, KEEP }

enum class Scores { LOGITS, PROBABILITIES, SIGMOID }

enum class Type(
    val bytes: Int,
    val range: IntRange?,
) {
    FLOAT32(4, null),
    INT8(1, -128..127),
    UINT8(1, 0..255),
}

/**
 * How an image becomes the network's input.
 *
 * @property resize for [Fit.CROP] the least size after resizing in proportion, for [Fit.STRETCH] the
 *     size before the middle is cut out; null for none.
 * @property crop the network's size.
 * @property pad of all channels, around an image that is letterboxed.
 * @property upright turned as its EXIF orientation says.
 * @property alpha what transparency becomes.
 * @property scale a value becomes (v * scale - mean) / std, in this order, each rounded to float.
 * @property mean one for each channel; so is [std].
 * @property planes a channel lies behind the other (NCHW), not pixels (NHWC).
 */
class Preprocessing(
    val fit: Fit,
    val resize: Size?,
    val crop: Size,
    val pad: Int,
    val interpolation: Interpolation,
    val upright: Boolean,
    val alpha: Alpha,
    val grey: Boolean,
    val blueFirst: Boolean,
    val scale: Double,
    val mean: List<Double>,
    val std: List<Double>,
    val planes: Boolean,
)

/**
 * The network's input or output.
 *
 * @property shape the batch, of one, first.
 * @property scale of integers that stand for real numbers: (integer - zero point) * scale.
 */
class Tensor(
    val type: Type,
    val shape: LongArray,
    val scale: Double?,
    val zeroPoint: Int,
) {
    val count: Int get() = shape.fold(1L, Long::times).toInt()
    val bytes: Int get() = count * type.bytes
}

/**
 * What the contract beside the model says.
 *
 * @property file the model's name.
 * @property bytes of that file.
 * @property labels names of classes, which are text from anywhere; null where they have none.
 */
class Contract(
    val file: String,
    val bytes: Long,
    val preprocessing: Preprocessing,
    val input: Tensor,
    val output: Tensor,
    val scores: Scores,
    val labels: List<String>?,
) {
    companion object {
        /** Reads the one contract in a folder. */
        fun of(folder: File): Contract {
            val path =
                folder.listFiles { file -> file.name.endsWith(ENDING) }?.singleOrNull()
                    ?: throw ModelError("${folder.name} does not hold one model with its contract")
            return parse(path.readText(), path.name.removeSuffix(ENDING))
        }

        /** Reads the text of a contract. */
        fun parse(
            text: String,
            file: String,
        ): Contract {
            val all = JSONObject(text)
            return Contract(
                file = file,
                bytes = all.getLong("size_bytes"),
                preprocessing = preprocessing(all.getJSONObject("preprocessing")),
                input = tensor(all.getJSONArray("inputs").getJSONObject(0)),
                output = tensor(all.getJSONArray("outputs").getJSONObject(0)),
                scores = named(all.getString("scores")),
                labels = if (all.isNull("labels")) null else all.getJSONArray("labels").map { getString(it) },
            )
        }

        private const val ENDING = ".json"
    }
}

/** The model or its contract cannot be loaded or run; the message says why. */
class ModelError(
    message: String,
    cause: Throwable? = null,
) : Exception(message, cause)

/** `preprocessing` of a contract. */
fun preprocessing(all: JSONObject): Preprocessing {
    val order = all.getString("channel_order")
    return Preprocessing(
        fit = named(all.getString("fit")),
        resize = if (all.isNull("resize")) null else size(all.get("resize")),
        crop = size(all.get("crop")),
        pad = all.getInt("pad"),
        interpolation = named(all.getString("interpolation")),
        upright = all.getString("exif") == "upright",
        alpha = named(all.getString("alpha")),
        grey = order == "L",
        blueFirst = order.startsWith("B"),
        scale = all.getDouble("scale"),
        mean = all.getJSONArray("mean").map { getDouble(it) },
        std = all.getJSONArray("std").map { getDouble(it) },
        planes = all.getString("layout") == "NCHW",
    )
}

private fun tensor(all: JSONObject) =
    Tensor(
        type = named(all.getString("dtype")),
        shape = all.getJSONArray("shape").map { getLong(it) }.toLongArray(),
        scale = if (all.isNull("scale")) null else all.getDouble("scale"),
        zeroPoint = if (all.isNull("zero_point")) 0 else all.getInt("zero_point"),
    )

private fun size(side: Any): Size =
    when (side) {
        is JSONArray -> Size(side.getInt(0), side.getInt(1))
        else -> (side as Number).toInt().let { Size(it, it) }
    }

private inline fun <reified T : Enum<T>> named(name: String): T =
    enumValues<T>().find { it.name.equals(name, ignoreCase = true) }
        ?: throw ModelError("the contract says '$name', which this app does not know")

private inline fun <T> JSONArray.map(read: JSONArray.(Int) -> T): List<T> = List(length()) { read(it) }
