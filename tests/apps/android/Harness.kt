import classifier.Classifier
import classifier.Contract
import classifier.GoldenTest
import classifier.Image
import classifier.ImageError
import classifier.ModelError
import classifier.Runtime
import classifier.decodeImage
import classifier.finishedPixels
import classifier.preprocessing
import classifier.reduction
import classifier.values
import golden.Golden
import org.json.JSONArray
import org.json.JSONObject
import java.io.DataOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import kotlin.system.exitProcess

/**
 * Does what an app does, in Java: prints one document of JSON.
 * ```
 * prepare CASES OUT
 * classify MODEL GOLDEN COMMAND IMAGE...
 * reduce MOST WIDTH HEIGHT...
 * ```
 * `prepare` reads a list of {content, how}, and writes the numbers that become of the images; it
 * prints their counts, or what was refused. `classify` prints what is wrong with scores, and the
 * labels of images; `reduce` by how much images are made smaller to be shown. COMMAND runs the model: it is a program that reads inputs and writes outputs.
 */
fun main(words: Array<String>) {
    val told =
        when (words[0]) {
            "prepare" -> prepare(File(words[1]), File(words[2]))
            "reduce" -> reduce(words[1].toInt(), words.drop(2).map { it.toLong() })
            else -> classify(File(words[1]), File(words[2]), words[3], words.drop(4))
        }
    System.out.write((told.toString() + "\n").toByteArray())
    System.out.flush()
    exitProcess(0)
}

private fun prepare(
    cases: File,
    out: File,
): JSONArray {
    val told = JSONArray()
    DataOutputStream(out.outputStream().buffered()).use { stream ->
        val all = JSONArray(cases.readText())
        for (i in 0 until all.length()) {
            val case = all.getJSONObject(i)
            val how = preprocessing(case.getJSONObject("how"))
            try {
                val content = Base64.getDecoder().decode(case.getString("content"))
                val image = decodeImage(content, how.upright, GoldenTest.DECODER)
                val found = values(finishedPixels(image, how), how)
                for (value in found) stream.writeFloat(value)
                told.put(found.size)
            } catch (error: ImageError) {
                told.put(error.message)
            }
        }
    }
    return told
}

private fun reduce(
    most: Int,
    sides: List<Long>,
) = JSONArray(sides.chunked(2).map { (width, height) -> reduction(width, height, most) })

private fun classify(
    model: File,
    golden: File,
    command: String,
    images: List<String>,
): JSONObject {
    val told = JSONObject()
    try {
        Classifier(model, GoldenTest.DECODER, { _, contract, _ -> Program(command, contract) }).use { classifier ->
            val scores = Golden(classifier.contract) { File(golden, it).readBytes() }.scores(classifier)
            told.put("scores", JSONArray(scores))
            told.put("images", JSONArray(images.map { labels(classifier, File(it)) }))
        }
    } catch (error: ModelError) {
        told.put("error", error.message)
    }
    return told
}

private fun labels(
    classifier: Classifier,
    file: File,
): JSONObject =
    try {
        val image: Image = classifier.read(file.readBytes())
        val all =
            classifier.classify(image, 10).map {
                JSONObject()
                    .put("index", it.index)
                    .put("label", it.label)
                    .put("name", it.name)
                    .put("probability", it.probability)
            }
        JSONObject().put("labels", JSONArray(all))
    } catch (error: ImageError) {
        JSONObject().put("error", error.message)
    }

/** A runtime that is a program. */
private class Program(
    command: String,
    private val contract: Contract,
) : Runtime {
    override val name = "a program"
    private val process =
        ProcessBuilder(command.split("\n")).redirectError(ProcessBuilder.Redirect.INHERIT).start()

    override fun run(input: ByteBuffer): ByteBuffer {
        val given = ByteArray(input.remaining())
        input.get(given)
        process.outputStream.write(given)
        process.outputStream.flush()
        val made = ByteArray(contract.output.bytes)
        process.inputStream.readNBytes(made, 0, made.size)
        return ByteBuffer.wrap(made).order(ByteOrder.nativeOrder())
    }

    override fun close() = process.outputStream.close()
}
