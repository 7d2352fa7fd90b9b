package classifier

import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.round

/** What runs a model; one thread at a time may use it. */
interface Runtime : Closeable {
    /** As people call it. */
    val name: String

    /**
     * Runs the network on a batch of one.
     *
     * @param input direct, in the processor's order of bytes, packed as the contract says.
     * @return the output, packed in the same way, from its beginning on.
     */
    fun run(input: ByteBuffer): ByteBuffer

    /** Loads models. */
    fun interface Opener {
        /** Throws a [ModelError]. */
        fun open(
            file: File,
            contract: Contract,
            threads: Int,
        ): Runtime
    }
}

/** Real values as the file takes them, which may be integers with a scale. */
internal fun stored(
    values: FloatArray,
    tensor: Tensor,
): ByteBuffer {
    val found = ByteBuffer.allocateDirect(tensor.bytes).order(ByteOrder.nativeOrder())
    val range = tensor.type.range
    if (range == null) {
        for (value in values) found.putFloat(value)
    } else {
        val scale = tensor.scale?.toFloat() ?: 1f
        for (value in values) {
            val step = round((value / scale).toDouble()) + tensor.zeroPoint // half to even
            found.put(step.coerceIn(range.first.toDouble(), range.last.toDouble()).toInt().toByte())
        }
    }
    found.rewind()
    return found
}

/** What the file computed, as real values. */
internal fun real(
    buffer: ByteBuffer,
    tensor: Tensor,
): DoubleArray {
    val scale = tensor.scale?.toFloat()
    return DoubleArray(tensor.count) {
        val value =
            when (tensor.type) {
                Type.FLOAT32 -> buffer.getFloat(4 * it)
                Type.INT8 -> buffer.get(it).toFloat()
                Type.UINT8 -> (buffer.get(it).toInt() and 0xFF).toFloat()
            }
        if (scale == null) value.toDouble() else ((value - tensor.zeroPoint) * scale).toDouble()
    }
}
