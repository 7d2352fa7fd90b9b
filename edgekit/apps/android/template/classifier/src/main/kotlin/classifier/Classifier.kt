package classifier

import java.io.Closeable
import java.io.File

/**
 * A network that says what images show. It is loaded once and used again and again, by one thread at
 * a time:
 * ```
 * val classifier = Classifier(folder, decoder, opener)
 * for (label in classifier.classify(classifier.read(file.readBytes()))) {
 *     println("${label.name} ${label.probability}")
 * }
 * ```
 *
 * @param folder with the model and its contract, and no other.
 * @param decoder of image files that are no PNG files.
 * @param opener of the runtime. Both throw a [ModelError].
 */
class Classifier(
    folder: File,
    private val decoder: Decoder,
    opener: Runtime.Opener,
    threads: Int = 1,
) : Closeable {
    val contract = Contract.of(folder)
    val runtime: Runtime = opener.open(checked(folder, contract), contract, threads)

    /** Pixels of an image file, in RGBA. Throws an [ImageError]. */
    fun read(bytes: ByteArray): Image = decodeImage(bytes, contract.preprocessing.upright, decoder)

    /** The likeliest classes of an image in RGBA, the likeliest one first. Throws an [ImageError]. */
    fun classify(
        image: Image,
        most: Int = 5,
    ): List<Label> = labels(scores(prepare(image)), most)

    /** An image as the network takes it. */
    fun prepare(image: Image): FloatArray = values(finishedPixels(image, contract.preprocessing))

    /** Finished pixels as the network takes them. */
    fun values(pixels: Image): FloatArray = values(pixels, contract.preprocessing)

    /** The network's output for a prepared image: one number a class. */
    fun scores(prepared: FloatArray): DoubleArray {
        require(prepared.size == contract.input.count) { "the input has another size" }
        return real(runtime.run(stored(prepared, contract.input)), contract.output)
    }

    /** What the network's output means. */
    fun labels(
        scores: DoubleArray,
        most: Int = 5,
    ): List<Label> = decode(scores, contract, most)

    override fun close() = runtime.close()
}

/** The model's file. Runtimes crash on damaged ones, so what is cut short is not given to them. */
private fun checked(
    folder: File,
    contract: Contract,
): File {
    val file = File(folder, contract.file)
    if (!file.isFile) throw ModelError("${contract.file} is missing")
    if (file.length() != contract.bytes) {
        throw ModelError("${contract.file} is damaged, or another file than its contract says")
    }
    return file
}
