package org.tensorflow.lite;

public final class Interpreter extends InterpreterImpl {
    public static class Options extends InterpreterImpl.Options {
        @Override
        public Options setNumThreads(int numThreads) {
            return this;
        }
    }

    public Interpreter(java.io.File modelFile, Options options) {}
}
