package ai.onnxruntime;

public class OrtSession implements AutoCloseable {
    public java.util.Set<String> getInputNames() {
        return null;
    }

    public Result run(java.util.Map<String, ? extends OnnxTensorLike> inputs) throws OrtException {
        return null;
    }

    @Override
    public void close() throws OrtException {}

    public static class Result implements AutoCloseable {
        public OnnxValue get(int index) {
            return null;
        }

        @Override
        public void close() {}
    }

    public static class SessionOptions implements AutoCloseable {
        public void setIntraOpNumThreads(int numThreads) throws OrtException {}

        @Override
        public void close() {}
    }
}
