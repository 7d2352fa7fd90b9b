// A slot: a process with one file at a time, which it loads, times and runs.
#pragma once

#include <vector>

#include "runtime.h"
#include "wire.h"

namespace edgekit {

// Version of the runner.
extern const char kRunnerVersion[];

// Answers requests, each load in a process of its own. Throws Closed: nobody asks any more.
void serve_files(Wire& wire, const std::vector<Library>& libraries);

// The slot of a runner that reads no meters, which says so.
void serve_no_meter(Wire& wire);

// Asks Linux to end this process when the one that started it ends, however it does.
void die_with(int parent);

// The exit code that a status of waitpid tells of; of a signal, its number less 0.
int exit_code(int status);

Message refusal(const Failure& failure);

}  // namespace edgekit
