package org.tensorflow.lite;

class InterpreterImpl {
    static class Options {
        public Options setNumThreads(int numThreads) {
            return this;
        }
    }

    public void run(Object input, Object output) {}

    public void close() {}
}
