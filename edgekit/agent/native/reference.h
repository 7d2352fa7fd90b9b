// A network that never changes, whose speed tells how the machine is doing.
#pragma once

#include <vector>

namespace edgekit {

// The same as edgekit/agent/reference.py: two 1x1 convolutions of 192 channels over 14 x 14 pixels
// with ReLU, in one thread. It takes another time than NumPy's; its changes alone count.
class Reference {
 public:
  Reference();
  void run();

 private:
  std::vector<float> pixels_, weights_[2], between_, result_;
};

}  // namespace edgekit
