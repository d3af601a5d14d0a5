package pprofile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Fields of pprof's messages that come in any number.
const (
	fieldType, fieldSample, fieldMapping, fieldLocation, fieldFunction, fieldString, fieldComment = 1, 2, 3, 4, 5, 6, 13 // of Profile
	fieldSampleLocation, fieldSampleValue, fieldSampleLabel                                       = 1, 2, 3              // of Sample
	fieldLocationLine                                                                             = 4                    // of Location
)

var errCutShort = errors.New("a field has no end")

// measure bounds what a profile takes in memory before it is parsed: an empty
// sample is two bytes in the message and two hundred in memory.
func measure(data []byte) error {
	counts := map[int]int{}
	var frames, values, labels, lines, comments int
	err := fields(data, func(field int, content []byte) error {
		counts[field]++
		switch field {
		case fieldSample:
			return fields(content, func(field int, content []byte) error {
				switch field {
				case fieldSampleLocation:
					frames += numbers(content)
				case fieldSampleValue:
					values += numbers(content)
				case fieldSampleLabel:
					labels++
				}
				return nil
			})
		case fieldComment:
			comments += numbers(content)
		case fieldLocation:
			return fields(content, func(field int, _ []byte) error {
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
		{"sample_type", counts[fieldType], MaxTypes},
		{"sample", counts[fieldSample], MaxSamples},
		{"mapping", counts[fieldMapping], MaxSymbols},
		{"location", counts[fieldLocation], MaxSymbols},
		{"location.line", lines, 4 * MaxSymbols},
		{"function", counts[fieldFunction], MaxSymbols},
		{"string_table", counts[fieldString], MaxSymbols},
		{"comment", comments, MaxComments},
		{"sample.location_id", frames, MaxFrames},
		{"sample.value", values, MaxFrames},
		{"sample.label", labels, MaxLabels},
	} {
		if c.n > c.most {
			return fmt.Errorf("%s: %d, more than %d", c.name, c.n, c.most)
		}
	}
	return nil
}

// numbers counts the varints of a field, packed or alone.
func numbers(content []byte) (n int) {
	for _, b := range content {
		if b < 0x80 {
			n++
		}
	}
	return n
}

// fields calls f with each field of a protobuf message; content is without its
// length where it has one.
func fields(data []byte, f func(field int, content []byte) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errCutShort
		}
		data = data[n:]
		size := 0
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
			data, size = data[n:], int(length)
		case 5:
			size = 4
		default:
			return fmt.Errorf("wire type %d", tag&7)
		}
		if size > len(data) {
			return errCutShort
		}
		if err := f(int(tag>>3), data[:size]); err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}
