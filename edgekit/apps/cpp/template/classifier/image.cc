#include "image.h"

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <png.h>

#include <jpeglib.h>  // needs what cstdio declares
#include <jerror.h>

namespace classifier {

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kMaxFile = 1 << 30;

void check_size(uint64_t width, uint64_t height) {
  if (width == 0 || height == 0) throw ImageError("the image is damaged: it has no pixels");
  if (width * height > kMaxPixels) {
    throw ImageError("the image is " + std::to_string(width) + " x " + std::to_string(height) +
                     " px, which is too large: expected at most " +
                     std::to_string(kMaxPixels / 1'000'000) + " megapixels");
  }
}

// The orientation of an EXIF block, 1 where it has none or is damaged.
int orientation_of(const uint8_t* data, size_t size) {
  if (size < 8 || (std::memcmp(data, "II*", 4) != 0 && std::memcmp(data, "MM\0*", 4) != 0)) return 1;
  const bool little = data[0] == 'I';
  const auto number = [&](size_t at, int count) {
    uint32_t found = 0;
    for (int i = 0; i < count; ++i) found = found << 8 | data[at + (little ? count - 1 - i : i)];
    return found;
  };
  const size_t folder = number(4, 4);
  if (folder + 2 > size) return 1;
  for (size_t i = 0, count = number(folder, 2); i < count; ++i) {
    const size_t entry = folder + 2 + 12 * i;
    if (entry + 12 > size) return 1;
    if (number(entry, 2) != 0x0112) continue;
    const uint32_t type = number(entry + 2, 2);
    if (number(entry + 4, 4) != 1 || (type != 3 && type != 4)) return 1;  // one short, or long
    const uint32_t found = number(entry + 8, type == 3 ? 2 : 4);
    return found <= 8 ? static_cast<int>(found) : 1;
  }
  return 1;
}

// Both libraries leave by longjmp where a file is damaged. What they do lies in functions without
// objects that a destructor would have to see; what stays behind belongs to their callers.

class Png {
 public:
  explicit Png(const Bytes& bytes) : bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &Png::fail, &Png::warn);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) throw std::bad_alloc();
  }
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  Image decode(int& orientation) {
    if (!read_header()) damaged();
    const uint32_t width = png_get_image_width(png_, info_);
    const uint32_t height = png_get_image_height(png_, info_);
    check_size(width, height);
    Image image(static_cast<int>(width), static_cast<int>(height), 4);
    const bool wide = png_get_bit_depth(png_, info_) == 16;
    const bool grey = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_GRAY;
    std::vector<uint8_t> samples(wide ? 2 * image.data.size() : 0);
    std::vector<png_bytep> rows(height);
    uint8_t* first = wide ? samples.data() : image.data.data();
    for (size_t y = 0; y < height; ++y) rows[y] = first + y * width * (wide ? 8 : 4);
    if (!read_pixels(rows.data())) damaged();
    for (size_t i = 0; wide && i < image.data.size(); ++i) {
      // Grey of 16 bits is scaled; of colours, and of grey with opacity, the upper half is taken.
      const unsigned sample = samples[2 * i] << 8 | samples[2 * i + 1];
      image.data[i] = static_cast<uint8_t>(grey ? (sample + 128) / 257 : sample >> 8);
    }
    read_rest();  // EXIF may stand behind the pixels; these are complete
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(png_, info_, &size, &exif) != 0) orientation = orientation_of(exif, size);
    return image;
  }

 private:
  [[noreturn]] static void fail(png_structp png, png_const_charp why) {
    std::snprintf(static_cast<Png*>(png_get_error_ptr(png))->why_, sizeof why_, "%s", why);
    png_longjmp(png, 1);
  }

  static void warn(png_structp, png_const_charp) {}

  static void read(png_structp png, png_bytep to, size_t count) {
    auto* self = static_cast<Png*>(png_get_io_ptr(png));
    if (count > self->bytes_.size() - self->at_) png_error(png, "it ends too early");
    std::memcpy(to, self->bytes_.data() + self->at_, count);
    self->at_ += count;
  }

  [[noreturn]] void damaged() const {
    throw ImageError(std::string("the image is damaged: ") + why_);
  }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, &Png::read);
    png_set_user_limits(png_, 0x7FFFFFFF, 0x7FFFFFFF);  // `check_size` has a limit of its own
    png_read_info(png_, info_);
    return true;
  }

  bool read_pixels(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_expand(png_);  // palettes to colours, fewer bits to 8, a transparent colour to opacity
    png_set_gray_to_rgb(png_);
    png_set_add_alpha(png_, 0xFFFF, PNG_FILLER_AFTER);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    png_read_image(png_, rows);
    return true;
  }

  bool read_rest() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_end(png_, info_);
    return true;
  }

  const Bytes& bytes_;
  size_t at_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  char why_[200] = "";
};

class Jpeg {
 public:
  explicit Jpeg(const Bytes& bytes) : bytes_(bytes) {
    about_.err = jpeg_std_error(&errors_);
    errors_.error_exit = &Jpeg::fail;
    errors_.emit_message = &Jpeg::message;
    about_.client_data = this;
    jpeg_create_decompress(&about_);
  }
  ~Jpeg() { jpeg_destroy_decompress(&about_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  Image decode(int& orientation) {
    if (!read_header()) damaged();
    check_size(about_.image_width, about_.image_height);
    const jpeg_saved_marker_ptr first = about_.marker_list;
    for (auto* marker = first; marker != nullptr; marker = marker->next) {
      if (marker->data_length < 6 || std::memcmp(marker->data, "Exif\0\0", 6) != 0) continue;
      orientation = orientation_of(marker->data + 6, marker->data_length - 6);
      break;
    }
    Image image(static_cast<int>(about_.image_width), static_cast<int>(about_.image_height), 4);
    const bool inks = about_.num_components == 4;
    std::vector<uint8_t> row(size_t(image.width) * (inks ? 4 : 3));
    if (!begin()) damaged();
    for (int y = 0; y < image.height; ++y) {
      if (!read_row(row.data()) || ended_) damaged();
      uint8_t* to = &image.data[size_t(y) * image.width * 4];
      for (int x = 0; x < image.width; ++x, to += 4) {
        if (inks) {
          paint(&row[4 * size_t(x)], to);
        } else {
          std::memcpy(to, &row[3 * size_t(x)], 3);
        }
        to[3] = 255;
      }
    }
    return image;
  }

 private:
  // Files of four inks hold what paper keeps of the light.
  static void paint(const uint8_t* kept, uint8_t* to) {
    for (int c = 0; c < 3; ++c) {
      const unsigned lost = (255u - kept[c]) * kept[3] + 128;
      to[c] = static_cast<uint8_t>(kept[3] - (((lost >> 8) + lost) >> 8));
    }
  }

  [[noreturn]] static void fail(j_common_ptr about) {
    auto* self = static_cast<Jpeg*>(about->client_data);
    about->err->format_message(about, self->why_);
    std::longjmp(self->out_, 1);
  }

  static void message(j_common_ptr about, int level) {
    if (level < 0 && about->err->msg_code == JWRN_JPEG_EOF) {
      static_cast<Jpeg*>(about->client_data)->ended_ = true;
    }
  }

  [[noreturn]] void damaged() const {
    throw ImageError(std::string("the image is damaged: ") + (ended_ ? "it ends too early" : why_));
  }

  bool read_header() {
    if (setjmp(out_) != 0) return false;
    jpeg_mem_src(&about_, bytes_.data(), static_cast<unsigned long>(bytes_.size()));
    jpeg_save_markers(&about_, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&about_, TRUE);
    return !ended_;
  }

  bool begin() {
    if (setjmp(out_) != 0) return false;
    about_.out_color_space = about_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&about_);
    return true;
  }

  bool read_row(JSAMPROW row) {
    if (setjmp(out_) != 0) return false;
    return jpeg_read_scanlines(&about_, &row, 1) == 1;
  }

  const Bytes& bytes_;
  jpeg_decompress_struct about_{};
  jpeg_error_mgr errors_{};
  std::jmp_buf out_;
  bool ended_ = false;
  char why_[JMSG_LENGTH_MAX] = "";
};

Bytes content_of(const std::string& path) {
  std::error_code wrong;
  const auto status = std::filesystem::status(path, wrong);
  if (status.type() == std::filesystem::file_type::not_found) {
    throw ImageError("there is no such file");
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw ImageError("it is no file: expected a PNG or JPEG file");
  }
  const uint64_t size = std::filesystem::file_size(path, wrong);
  if (wrong || size > kMaxFile) throw ImageError("the file is too large: expected at most 1 GiB");
  Bytes bytes(size);
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (!stream) throw ImageError("the file cannot be read");
  return bytes;
}

bool begins(const Bytes& bytes, const char* with, size_t count) {
  return bytes.size() >= count && std::memcmp(bytes.data(), with, count) == 0;
}

}  // namespace

Image decode_image(const Bytes& bytes, bool upright) {
  int orientation = 1;
  Image image;
  if (begins(bytes, "\x89PNG\r\n\x1a\n", 8)) {
    image = Png(bytes).decode(orientation);
  } else if (begins(bytes, "\xff\xd8\xff", 3)) {
    image = Jpeg(bytes).decode(orientation);
  } else {
    throw ImageError("it is no image: expected a PNG or JPEG file");
  }
  return upright ? turned(std::move(image), orientation) : image;
}

Image read_image(const std::string& path, bool upright) {
  return decode_image(content_of(path), upright);
}

Image turned(Image image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool across = orientation > 4;  // rows become columns
  // Along the image's own rows, and along its columns.
  const bool mirrored = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool upended = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int wide = across ? image.height : image.width;
  const int tall = across ? image.width : image.height;
  Image found(wide, tall, image.channels);
  const size_t channels = image.channels;
  uint8_t* to = found.data.data();
  for (int y = 0; y < tall; ++y) {
    for (int x = 0; x < wide; ++x, to += channels) {
      const int u = across ? y : x, v = across ? x : y;
      const size_t column = mirrored ? image.width - 1 - u : u;
      const size_t row = upended ? image.height - 1 - v : v;
      std::memcpy(to, &image.data[(row * image.width + column) * channels], channels);
    }
  }
  return found;
}

}  // namespace classifier
