package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// pack returns the files as a tar, compressed: the same bytes for the same files.
func pack(files map[string][]byte) ([]byte, error) {
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatUSTAR}); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := tw.Write(files[name]); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	// One goroutine: the bytes must not depend on the number of CPUs.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstd.MaxWindowSize>>6))
	if err != nil {
		return nil, err
	}
	return enc.EncodeAll(plain.Bytes(), nil), enc.Close()
}
