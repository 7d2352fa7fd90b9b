package ai.onnxruntime;

public class OnnxTensor extends OnnxTensorLike {
    public static OnnxTensor createTensor(OrtEnvironment env, java.nio.FloatBuffer data, long[] shape)
            throws OrtException {
        return null;
    }

    public static OnnxTensor createTensor(
            OrtEnvironment env, java.nio.ByteBuffer data, long[] shape, OnnxJavaType type)
            throws OrtException {
        return null;
    }

    public java.nio.ByteBuffer getByteBuffer() {
        return null;
    }
}
