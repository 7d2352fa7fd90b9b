package com.example.classifier

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import golden.Golden
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith

/**
 * Holds the app on a phone against the golden images. A failure of `pixels` is one of decoding or
 * resizing, `scores` of the runtime or the model, `labels` of what the outputs are taken for.
 */
@RunWith(AndroidJUnit4::class)
class PhoneTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val classifier = loadClassifier(instrumentation.targetContext)
    private val golden =
        Golden(classifier.contract) { name ->
            instrumentation.context.assets
                .open("golden/$name")
                .use { it.readBytes() }
        }

    @Test
    fun pixels() = assertEquals(emptyList<String>(), golden.pixels(PhoneDecoder))

    @Test
    fun scores() = assertEquals(emptyList<String>(), golden.scores(classifier))

    @Test
    fun labels() = assertEquals(emptyList<String>(), golden.labels())

    @Test
    fun refused() = assertEquals(emptyList<String>(), golden.refused(PhoneDecoder))
}
