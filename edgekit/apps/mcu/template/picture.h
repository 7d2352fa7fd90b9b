// A picture to try the classifier on where there is no camera yet.
#pragma once

#include "prepare.h"

extern const classifier::Frame kPicture;
extern const int kPictureClass;  // what it shows, by the model itself
