package golden

import classifier.Alpha
import classifier.Classifier
import classifier.Contract
import classifier.Decoder
import classifier.Image
import classifier.ImageError
import classifier.Scores
import classifier.decode
import classifier.decodeImage
import classifier.finishedPixels
import classifier.probabilities
import org.json.JSONArray
import org.json.JSONObject
import kotlin.math.abs
import kotlin.math.log10
import kotlin.math.max

/**
 * The golden images, and how far an app is from what is known of them. Each check gives what is
 * wrong, one line a finding; none where all is right.
 *
 * @param contract of the model in the app.
 * @param read the bytes of a file in the folder `golden`.
 */
class Golden(
    private val contract: Contract,
    private val read: (String) -> ByteArray,
) {
    private val all = JSONObject(String(read("golden.json"), Charsets.UTF_8))
    private val images = all.getJSONArray("images").objects()

    /** Decoding, turning and resizing of images. */
    fun pixels(decoder: Decoder): List<String> =
        images.mapNotNull { image ->
            val how = contract.preprocessing
            val name = image.getString("file")
            val found = finishedPixels(decodeImage(read(name), how.upright, decoder), how)
            wrongPixels(found, known(image), image.getJSONObject("most_off"))?.let { "$name: $it" }
        }

    /** The runtime, or the model: its outputs for given pixels. */
    fun scores(classifier: Classifier): List<String> =
        images.flatMap { image ->
            val found = classifier.scores(classifier.values(known(image)))
            val scores = image.getJSONObject("scores")
            scores.keys().asSequence().toList().mapNotNull { of ->
                val least = image.getJSONObject("least_db").getDouble(of)
                wrongScores(found, scores.getJSONArray(of).doubles(), least)
                    ?.let { "${image.getString("file")}: $it, to the scores of the $of" }
            }
        }

    /** What outputs are taken for. */
    fun labels(): List<String> = images.flatMap(::wrongLabels) + all.getJSONArray("vectors").objects().mapNotNull(::wrongVector)

    /** What is no image, and has to be refused. */
    fun refused(decoder: Decoder): List<String> =
        listOf("", "no image", "\u0089PNG\r\n\u001a\n", "\u00ff\u00d8\u00ff\u00e1", "GIF89a", "BM").mapNotNull {
            try {
                decodeImage(it.toByteArray(Charsets.ISO_8859_1), true, decoder)
                "'$it' was taken for an image"
            } catch (_: ImageError) {
                null
            }
        }

    /** The finished pixels that belong to an image: a PNG file with the network's channels. */
    private fun known(image: JSONObject): Image {
        val how = contract.preprocessing
        val all = decodeImage(read(image.getString("pixels")), false) { null }
        val channels =
            when {
                how.grey -> 1
                how.alpha == Alpha.KEEP -> 4
                else -> 3
            }
        val found = Image(all.width, all.height, channels)
        for (i in found.data.indices) found.data[i] = all.data[i / channels * 4 + i % channels]
        return found
    }

    private fun wrongPixels(
        found: Image,
        known: Image,
        most: JSONObject,
    ): String? {
        if (found.width != known.width || found.height != known.height) {
            return "${found.width} x ${found.height} px: expected ${known.width} x ${known.height}"
        }
        if (found.channels != known.channels || found.data.size != known.data.size) {
            return "${found.channels} channels, ${found.data.size} values: expected ${known.channels}, ${known.data.size}"
        }
        var one = 0
        var sum = 0L
        for (i in known.data.indices) {
            val off = abs((found.data[i].toInt() and 0xFF) - (known.data[i].toInt() and 0xFF))
            one = max(one, off)
            sum += off
        }
        val mean = sum.toDouble() / known.data.size
        return when {
            one > most.getDouble("one") -> "a pixel is off by $one: at most ${most.getDouble("one")}"
            mean > most.getDouble("mean") -> "pixels are off by $mean: at most ${most.getDouble("mean")}"
            else -> null
        }
    }

    private fun wrongScores(
        found: DoubleArray,
        known: DoubleArray,
        least: Double,
    ): String? {
        if (found.size != known.size) return "${found.size} scores: expected ${known.size}"
        if (!found.all { it.isFinite() }) return "scores that are not finite"
        if (known.size == 1) { // one number has no spread: it is compared as it is
            val off = abs(found[0] - known[0])
            return if (off <= 0.02 * max(1.0, abs(known[0]))) null else "the score is off by $off"
        }
        val middle = known.average()
        val power = known.map { (it - middle) * (it - middle) }.average()
        val noise = known.indices.map { (known[it] - found[it]) * (known[it] - found[it]) }.average()
        val decibels = 10 * log10(max(power, 1e-30) / max(noise, 1e-30))
        return if (decibels >= least) null else "$decibels dB: at least $least"
    }

    private fun wrongLabels(image: JSONObject): List<String> {
        val known = image.getJSONArray("labels").objects()
        val scores = image.getJSONObject("scores").getJSONArray("file").doubles()
        val labels = decode(scores, contract, known.size)
        val name = image.getString("file")
        if (labels.size != known.size) return listOf("$name: ${labels.size} labels, expected ${known.size}")
        return labels.zip(known).mapNotNull { (found, one) ->
            val label = if (one.isNull("label")) null else one.getString("label")
            val off = abs(found.probability - one.getDouble("probability"))
            val right = found.index == one.getInt("index") && found.label == label && off < 1e-6
            if (right) null else "$name: $found, expected $one"
        }
    }

    private fun wrongVector(vector: JSONObject): String? {
        val kind = Scores.valueOf(vector.getString("kind").uppercase())
        val found = probabilities(vector.getJSONArray("scores").doubles(), kind)
        val known = vector.getJSONArray("probabilities").doubles()
        val right = found.size == known.size && found.indices.all { abs(found[it] - known[it]) < 1e-9 }
        return if (right) null else "${found.toList()}: expected ${known.toList()}"
    }
}

private fun JSONArray.objects(): List<JSONObject> = List(length()) { getJSONObject(it) }

private fun JSONArray.doubles() = DoubleArray(length()) { getDouble(it) }
