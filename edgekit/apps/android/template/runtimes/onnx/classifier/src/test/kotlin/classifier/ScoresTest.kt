package classifier

import org.junit.Assert.assertEquals
import org.junit.Test

/** Runs the model on this machine. A failure is one of the runtime, or of the model. */
class ScoresTest {
    @Test
    fun scores() {
        Classifier(GoldenTest.MODEL, GoldenTest.DECODER, ModelRuntime).use {
            assertEquals(emptyList<String>(), GoldenTest.golden(it.contract).scores(it))
        }
    }
}
