// A WAV file (mono, 16 bit, at the model's rate) to text with an exported model.
//   g++ -std=c++17 -I$ONNXRUNTIME_HOME/include greedy.cc -L$ONNXRUNTIME_HOME/lib -lonnxruntime
//   ./a.out digits.samples.onnx " efghinorstuvwxz" talk.wav      (the alphabet: label 1, 2, ...)
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: greedy MODEL ALPHABET WAV\n", 2;
  Ort::Env env;
  Ort::Session session(env, argv[1], Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions memory;
  auto rate = session.GetModelMetadata().LookupCustomMetadataMapAllocated("sample_rate", memory);
  std::ifstream file(argv[3], std::ios::binary);
  std::string wav{std::istreambuf_iterator<char>(file), {}};
  auto number = [&](size_t at, int size) { int n = 0; std::memcpy(&n, &wav[at], size); return n; };
  size_t data = wav.find("data", 12);  // the samples, behind their length; other chunks may follow
  if (data == wav.npos || wav.size() < std::max<size_t>(44, data + 8) || number(22, 2) != 1 ||
      number(34, 2) != 16 || number(24, 4) != std::stoi(rate.get()))
    return std::cerr << argv[3] << " must be mono, 16 bit, " << rate.get() << " Hz.\n", 4;
  std::vector<float> x(std::min<size_t>(unsigned(number(data + 4, 4)), wav.size() - data - 8) / 2);
  for (size_t i = 0; i < x.size(); ++i) x[i] = int16_t(number(data + 8 + 2 * i, 2)) / 32768.0f;
  int64_t shape[] = {1, int64_t(x.size())};
  int32_t length = int32_t(x.size());
  Ort::Value inputs[] = {
      Ort::Value::CreateTensor<float>(memory.GetInfo(), x.data(), x.size(), shape, 2),
      Ort::Value::CreateTensor<int32_t>(memory.GetInfo(), &length, 1, shape, 1)};
  const char *in[] = {"samples", "num_samples"}, *out[] = {"logits"};
  auto result = session.Run(Ort::RunOptions(), in, inputs, 2, out, 1);
  auto dims = result[0].GetTensorTypeAndShapeInfo().GetShape();
  const float* row = result[0].GetTensorData<float>();
  const std::string alphabet = argv[2];  // one byte a letter; use a vector for others
  for (int64_t t = 0, before = 0; t < dims[1]; ++t, row += dims[2]) {
    int64_t label = std::max_element(row, row + dims[2]) - row;
    if (label && label != before) std::cout << alphabet[label - 1];  // repeats are one letter
    before = label;
  }
  std::cout << "\n";
}
