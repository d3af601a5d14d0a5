// Package pprofile turns profiles in the format of pprof into OTLP profiles and
// back.
//
// An OTLP profile has one type of value, a pprof profile may have several: one
// of pprof becomes one scope whose profiles have the same samples in the same
// order, each with one of the values. What OTLP has no field for stands in the
// attributes that the semantic conventions name for this (pprof.*), so that the
// way there and back loses nothing a sample refers to.
package pprofile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/google/pprof/profile"
)

// ErrInvalid is wrapped by errors about profiles that cannot be as they are.
var ErrInvalid = errors.New("invalid profile")

// Limits of one profile. They are far above what profilers make (a Go heap
// profile of a large service has 10,000 samples of 32 locations), and keep what
// a profile takes in memory near the size of the message it came in.
const (
	// MaxSamples bounds the samples.
	MaxSamples = 1 << 20
	// MaxFrames bounds the locations of all samples' stacks together, which
	// OTLP shares between samples and pprof does not.
	MaxFrames = 1 << 24
	// MaxTypes bounds the types of values; Go's profiles have at most four, Java's
	// some ten. Sums look for each type among all.
	MaxTypes = 64
	// MaxComments bounds the comments of a profile.
	MaxComments = 1 << 10
	// MaxLabels bounds the labels of all samples together: pprof takes near a
	// kilobyte for the labels of one.
	MaxLabels = 1 << 19
	// MaxBytes bounds an uncompressed pprof profile.
	MaxBytes = 128 << 20
	// MaxSymbols bounds the locations of a profile, its functions, its mappings
	// and its strings, of each kind.
	MaxSymbols = 1 << 20
)

// Kinds of profiles that have a name of their own; see Kind.
const (
	CPU       = "cpu"
	OffCPU    = "off_cpu"
	Heap      = "heap"
	Allocs    = "allocs"
	Goroutine = "goroutine"
	Mutex     = "mutex"
	Block     = "block"
)

// Read reads a profile in the format of pprof, compressed by gzip or not. The
// error wraps ErrInvalid.
func Read(data []byte) (*profile.Profile, error) {
	var err error
	if len(data) > 2 && data[0] == 0x1f && data[1] == 0x8b {
		data, err = unzip(data)
	}
	switch {
	case err != nil:
		return nil, err
	case len(data) > MaxBytes:
		return nil, fmt.Errorf("read pprof profile: more than %d MiB: %w", MaxBytes>>20, ErrInvalid)
	case len(data) == 0:
		return nil, fmt.Errorf("read pprof profile: it is empty: %w", ErrInvalid)
	}
	err = measure(data)
	var p *profile.Profile
	if err == nil {
		p, err = profile.ParseUncompressed(data)
	}
	if err == nil {
		err = check(p)
	}
	if err != nil {
		return nil, fmt.Errorf("read pprof profile: %w: %w", err, ErrInvalid)
	}
	return p, nil
}

func unzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(z, MaxBytes+1))
	}
	if err != nil {
		return nil, fmt.Errorf("decompress pprof profile: %w: %w", err, ErrInvalid)
	}
	return data, nil
}

func check(p *profile.Profile) error {
	if err := p.CheckValid(); err != nil {
		return err
	}
	if len(p.SampleType) == 0 {
		return errors.New("it has no sample_type")
	}
	if len(p.Sample) > MaxSamples {
		return fmt.Errorf("it has %d samples, more than %d", len(p.Sample), MaxSamples)
	}
	frames := 0
	for _, s := range p.Sample {
		frames += len(s.Location)
	}
	if frames > MaxFrames {
		return fmt.Errorf("the stacks of its samples have %d locations, more than %d", frames, MaxFrames)
	}
	return nil
}

// Plus adds values of samples. A sum beyond what an int64 holds stays at its end:
// a sender may say any value, and wrapped it would be told as one that is near.
func Plus(a, b int64) int64 {
	switch sum := a + b; {
	case sum > a == (b > 0):
		return sum
	case b > 0:
		return math.MaxInt64
	}
	return math.MinInt64
}

// Kind guesses what a profile measures from the types of its values. What has
// no name of its own is called as its last type.
func Kind(p *profile.Profile) string {
	has := map[string]bool{}
	for _, t := range p.SampleType {
		has[t.Type] = true
	}
	switch {
	case has["off_cpu"] || has["offcpu"] || has["off-cpu"]:
		return OffCPU
	case has["cpu"]:
		return CPU
	case has["inuse_space"] && p.DefaultSampleType == "alloc_space":
		return Allocs
	case has["inuse_space"]:
		return Heap
	case has["alloc_space"]:
		return Allocs
	case has["goroutine"] || has["goroutines"]:
		return Goroutine
	case has["contentions"] && has["delay"]:
		return contention(p)
	case len(p.SampleType) == 0:
		return "unknown"
	}
	if last := p.SampleType[len(p.SampleType)-1]; last.Type == "samples" && p.PeriodType != nil && p.PeriodType.Type == "cpu" {
		return CPU
	} else if last.Type != "" {
		return last.Type
	}
	return "unknown"
}

// contention tells Go's mutex profile, whose stacks are of those who release
// what others wait for, from its block profile, which has the same types.
func contention(p *profile.Profile) string {
	for _, s := range p.Sample {
		for _, l := range s.Location {
			for _, line := range l.Line {
				if f := line.Function; f != nil && (strings.HasSuffix(f.Name, "Unlock") || strings.HasPrefix(f.Name, "runtime.unlock") || f.Name == "runtime._LostContendedRuntimeLock") {
					return Mutex
				}
			}
		}
	}
	return Block
}
