package pprofile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Fields of pprof's messages that come in any number.
const (
	fieldSample, fieldMapping, fieldLocation, fieldFunction, fieldString = 2, 3, 4, 5, 6 // of Profile
	fieldSampleLocation, fieldSampleLabel                                = 1, 3          // of Sample
	fieldLocationLine                                                    = 4             // of Location
)

var errCutShort = errors.New("a field has no end")

// measure bounds what a profile takes in memory before it is parsed: an empty
// sample is two bytes in the message and two hundred in memory.
func measure(data []byte) error {
	counts := map[int]int{}
	var frames, labels, lines int
	err := fields(data, func(field int, content []byte, _ bool) error {
		counts[field]++
		switch field {
		case fieldSample:
			return fields(content, func(field int, content []byte, packed bool) error {
				switch {
				case field == fieldSampleLocation && packed:
					frames += len(content) // at least a byte each
				case field == fieldSampleLocation:
					frames++
				case field == fieldSampleLabel:
					labels++
				}
				return nil
			})
		case fieldLocation:
			return fields(content, func(field int, _ []byte, _ bool) error {
				if field == fieldLocationLine {
					lines++
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name    string
		n, most int
	}{
		{"sample", counts[fieldSample], MaxSamples},
		{"mapping", counts[fieldMapping], MaxSymbols},
		{"location", counts[fieldLocation], MaxSymbols},
		{"location.line", lines, 4 * MaxSymbols},
		{"function", counts[fieldFunction], MaxSymbols},
		{"string_table", counts[fieldString], MaxSymbols},
		{"sample.location_id", frames, 4 * MaxFrames}, // ids take up to four bytes
		{"sample.label", labels, 4 * MaxSamples},
	} {
		if c.n > c.most {
			return fmt.Errorf("%s: %d, more than %d", c.name, c.n, c.most)
		}
	}
	return nil
}

// fields calls f with each field of a protobuf message; content is that of
// fields with a length, which numbers that are packed have as well.
func fields(data []byte, f func(field int, content []byte, sized bool) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errCutShort
		}
		data = data[n:]
		size, sized := 0, false
		switch tag & 7 {
		case 0:
			if _, size = binary.Uvarint(data); size <= 0 {
				return errCutShort
			}
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)-n) {
				return errCutShort
			}
			data, size, sized = data[n:], int(length), true
		case 5:
			size = 4
		default:
			return fmt.Errorf("wire type %d", tag&7)
		}
		if size > len(data) {
			return errCutShort
		}
		if err := f(int(tag>>3), data[:size], sized); err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}
