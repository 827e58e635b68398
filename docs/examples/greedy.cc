// A WAV file (mono, 16 bit, at the model's rate) to text with an exported model.
//   g++ -std=c++17 -I$ONNXRUNTIME_HOME/include greedy.cc -L$ONNXRUNTIME_HOME/lib -lonnxruntime
//   ./a.out digits.samples.onnx " efghinorstuvwxz" talk.wav      (the alphabet: label 1, 2, ...)
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: greedy MODEL ALPHABET WAV\n", 2;
  std::ifstream file(argv[3], std::ios::binary);
  std::vector<char> wav{std::istreambuf_iterator<char>(file), {}};
  const char* name = "data";
  auto data = std::search(wav.begin(), wav.end(), name, name + 4);
  if (wav.end() - data < 8) return std::cerr << "no WAV file\n", 4;
  std::vector<float> samples((wav.end() - data - 8) / 2);
  for (size_t i = 0; i < samples.size(); ++i) {
    int16_t sample;
    std::memcpy(&sample, &*data + 8 + 2 * i, 2);
    samples[i] = sample / 32768.0f;
  }
  Ort::Env env;
  Ort::Session session(env, argv[1], Ort::SessionOptions());
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  int64_t shape[] = {1, int64_t(samples.size())}, one[] = {1};
  int32_t length[] = {int32_t(samples.size())};
  Ort::Value inputs[] = {
      Ort::Value::CreateTensor<float>(memory, samples.data(), samples.size(), shape, 2),
      Ort::Value::CreateTensor<int32_t>(memory, length, 1, one, 1)};
  const char *in[] = {"samples", "num_samples"}, *out[] = {"logits"};
  auto result = session.Run(Ort::RunOptions(), in, inputs, 2, out, 1);
  auto dims = result[0].GetTensorTypeAndShapeInfo().GetShape();
  const float* row = result[0].GetTensorData<float>();
  const std::string alphabet = argv[2];  // one byte a letter; use a vector for others
  std::string text;
  int64_t before = 0;
  for (int64_t t = 0; t < dims[1]; ++t, row += dims[2]) {
    int64_t label = std::max_element(row, row + dims[2]) - row;
    if (label && label != before) text += alphabet[label - 1];  // repeats are one letter
    before = label;
  }
  std::cout << text << "\n";
}
