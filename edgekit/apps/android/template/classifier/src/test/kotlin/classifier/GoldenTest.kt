package classifier

import golden.Golden
import org.junit.Assert.assertEquals
import org.junit.Test
import java.io.File
import javax.imageio.ImageIO

/**
 * Holds what needs no phone against the golden images. A failure of `pixels` is one of decoding or
 * resizing, `labels` of what the outputs are taken for.
 */
class GoldenTest {
    private val golden = Golden(Contract.of(MODEL)) { File(IMAGES, it).readBytes() }

    @Test
    fun pixels() = assertEquals(emptyList<String>(), golden.pixels(DECODER))

    @Test
    fun labels() = assertEquals(emptyList<String>(), golden.labels())

    @Test
    fun refused() = assertEquals(emptyList<String>(), golden.refused(DECODER))

    companion object {
        val MODEL = File("../app/src/main/assets/model")
        private val IMAGES = File("../app/src/androidTest/assets/golden")

        /** Images of this machine's Java; those of a phone are tested there. */
        val DECODER =
            Decoder { bytes ->
                ImageIO.read(bytes.inputStream())?.let { image ->
                    val found = Image(image.width, image.height, 4)
                    for (i in 0 until image.width * image.height) {
                        val argb = image.getRGB(i % image.width, i / image.width)
                        for (c in 0 until 3) found.data[4 * i + c] = (argb shr (16 - 8 * c)).toByte()
                        found.data[4 * i + 3] = (argb shr 24).toByte()
                    }
                    found
                }
            }

        fun golden(contract: Contract) = Golden(contract) { File(IMAGES, it).readBytes() }
    }
}
