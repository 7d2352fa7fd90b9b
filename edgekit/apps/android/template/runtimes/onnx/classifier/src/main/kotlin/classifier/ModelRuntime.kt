package classifier

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Runs the model in ONNX Runtime, on the processor: on phones, and in tests of this machine. */
object ModelRuntime : Runtime.Opener {
    override fun open(
        file: File,
        contract: Contract,
        threads: Int,
    ): Runtime {
        val environment = OrtEnvironment.getEnvironment()
        return OrtSession.SessionOptions().use { options ->
            options.setIntraOpNumThreads(threads)
            try {
                Loaded(environment, environment.createSession(file.path, options), contract)
            } catch (error: OrtException) {
                throw ModelError("ONNX Runtime does not load ${file.name}", error)
            }
        }
    }

    private class Loaded(
        private val environment: OrtEnvironment,
        private val session: OrtSession,
        contract: Contract,
    ) : Runtime {
        override val name = "ONNX Runtime"
        private val input = contract.input

        override fun run(input: ByteBuffer): ByteBuffer =
            tensor(input).use { tensor ->
                session.run(mapOf(session.inputNames.first() to tensor)).use {
                    (it.get(0) as OnnxTensor).byteBuffer.order(ByteOrder.nativeOrder())
                }
            }

        private fun tensor(buffer: ByteBuffer): OnnxTensor =
            when (input.type) {
                Type.FLOAT32 -> OnnxTensor.createTensor(environment, buffer.asFloatBuffer(), input.shape)
                Type.INT8 -> OnnxTensor.createTensor(environment, buffer, input.shape, OnnxJavaType.INT8)
                Type.UINT8 -> OnnxTensor.createTensor(environment, buffer, input.shape, OnnxJavaType.UINT8)
            }

        override fun close() = session.close()
    }
}
