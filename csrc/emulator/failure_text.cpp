#include "failure_text.h"

#include <dlfcn.h>

#include <cstdio>
#include <memory>
#include <sstream>

namespace metalsvd::emulator {

namespace {

// The output of addr2line: one "file:line" for the instruction and one for each call it was inlined through.
std::vector<std::string> inlined_lines(const char* library, std::size_t offset) {
  std::ostringstream command;
  command << "addr2line -i -e '" << library << "' 0x" << std::hex << offset << " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.str().c_str(), "r"), pclose);
  std::vector<std::string> lines;
  char line[4096];
  while (output && std::fgets(line, sizeof(line), output.get())) {
    std::string text = line;
    text = text.substr(0, text.find_first_of(" \n"));  // drops "(discriminator 2)"
    if (text.starts_with("./")) text.erase(0, 2);      // the build calls its own folder "."
    if (!text.starts_with("?") && !text.ends_with("?")) lines.push_back(text);
  }
  return lines;
}

}  // namespace

std::string to_string(const Size3& position) {
  std::ostringstream text;
  text << '(' << position.x << ", " << position.y << ", " << position.z << ')';
  return text.str();
}

std::string to_string(const Site& site) { return std::string(site.file) + ':' + std::to_string(site.line); }

std::string thread_list(const std::vector<unsigned>& threads) {
  std::string text;
  unsigned ranges = 0;
  for (std::size_t first = 0; first < threads.size();) {
    std::size_t last = first;
    while (last + 1 < threads.size() && threads[last + 1] == threads[last] + 1) ++last;
    if (++ranges > 8) return "threads " + text + ", ... (" + std::to_string(threads.size()) + " in all)";
    text += (text.empty() ? "" : ", ") + std::to_string(threads[first]);
    if (last > first) text += '-' + std::to_string(threads[last]);
    first = last + 1;
  }
  return (threads.size() == 1 ? "thread " : "threads ") + text;
}

std::string source_line(const void* return_address) {
  const auto* const instruction = static_cast<const char*>(return_address) - 1;
  Dl_info info = {};
  if (dladdr(instruction, &info) && info.dli_fname) {
    const auto offset = static_cast<std::size_t>(instruction - static_cast<const char*>(info.dli_fbase));
    // The dialect's own functions are inlined into the kernel: the first line outside them is the kernel's.
    for (const std::string& line : inlined_lines(info.dli_fname, offset)) {
      if (line.find("/dialect/") == std::string::npos) return line;
    }
  }
  std::ostringstream text;
  text << "instruction " << static_cast<const void*>(instruction) << " (no line numbers: is addr2line installed?)";
  return text.str();
}

}  // namespace metalsvd::emulator
