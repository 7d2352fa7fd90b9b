package classifier

import org.tensorflow.lite.Interpreter
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Runs the model in LiteRT, on the processor. */
object ModelRuntime : Runtime.Opener {
    override fun open(
        file: File,
        contract: Contract,
        threads: Int,
    ): Runtime {
        val interpreter =
            try {
                Interpreter(file, Interpreter.Options().setNumThreads(threads))
            } catch (error: IllegalArgumentException) {
                throw ModelError("LiteRT does not load ${file.name}", error)
            }
        return Loaded(interpreter, contract)
    }

    private class Loaded(
        private val interpreter: Interpreter,
        contract: Contract,
    ) : Runtime {
        override val name = "LiteRT"
        private val output = ByteBuffer.allocateDirect(contract.output.bytes).order(ByteOrder.nativeOrder())

        override fun run(input: ByteBuffer): ByteBuffer {
            output.rewind()
            interpreter.run(input, output)
            output.rewind()
            return output
        }

        override fun close() = interpreter.close()
    }
}
