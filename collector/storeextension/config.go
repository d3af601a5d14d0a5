package storeextension

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
)

// Config is the extension's YAML. Every field has a default that works.
type Config struct {
	// Directory holds all data (default ./guanlan-data). It is created when
	// missing and used by one process at a time.
	Directory string `mapstructure:"directory"`
	// Sync says when an acknowledged batch is on the disk: a duration (the
	// default 200ms: acknowledged once written, fsync at most that much
	// later) or "always" (acknowledged after fsync, shared by all who wait).
	Sync Sync `mapstructure:"sync"`
	// Memory bounds what the event store keeps in memory (default: the
	// smaller of 25 % of the machine or container and 1GiB).
	Memory Size `mapstructure:"memory"`
	// MinFree is the free disk space below which writes are refused, reads
	// go on (default: the smaller of 512MiB and 10 % of the file system).
	MinFree Size `mapstructure:"min_free"`

	Traces   Retention `mapstructure:"traces"`
	Logs     Retention `mapstructure:"logs"`
	Metrics  Metrics   `mapstructure:"metrics"`
	Profiles Retention `mapstructure:"profiles"`
}

// Retention bounds one signal by age and by size; whichever is reached first
// deletes the oldest.
type Retention struct {
	// Age such as 7d or 12h (default 7d). Traces and logs are deleted by whole
	// days, profiles by the hour.
	Age Age `mapstructure:"retention"`
	// MaxSize on disk such as 50GiB (default: no bound).
	MaxSize Size `mapstructure:"max_size"`
}

// Metrics is the metric store's part.
type Metrics struct {
	Retention `mapstructure:",squash"` // age defaults to 15d
	// OutOfOrder is how late a sample may arrive (default 30m).
	OutOfOrder Age `mapstructure:"out_of_order"`
}

func defaultConfig() *Config {
	return &Config{
		Directory: "./guanlan-data",
		Sync:      Sync{Every: 200 * time.Millisecond},
		Traces:    Retention{Age: 7 * day},
		Logs:      Retention{Age: 7 * day},
		Metrics:   Metrics{Retention: Retention{Age: 15 * day}, OutOfOrder: Age(30 * time.Minute)},
		Profiles:  Retention{Age: 7 * day},
	}
}

const day = Age(24 * time.Hour)

// Validate names the first field that cannot be.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, field, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: want %s", field, want))
		}
	}
	check(c.Directory != "", "directory", "a folder, for example ./guanlan-data")
	check(c.Memory == 0 || c.Memory >= minMemory, "memory", "at least 64MiB, or nothing for the default")
	check(c.Traces.Age >= day, "traces::retention", "at least 1d: data is deleted by whole days")
	check(c.Logs.Age >= day, "logs::retention", "at least 1d: data is deleted by whole days")
	check(c.Metrics.Age >= Age(2*time.Hour), "metrics::retention", "at least 2h, the smallest block")
	check(c.Profiles.Age >= Age(time.Hour), "profiles::retention", "at least 1h: data is deleted by the hour")
	return errors.Join(errs...)
}

// minMemory is what the event engine needs for its write buffers.
const minMemory = 64 << 20

// Size is a number of bytes, written as 512MiB or 10GiB (units of 1024) or as
// 512MB (units of 1000).
type Size int64

// UnmarshalText reads the written form.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := units.ParseStrictBytes(string(text))
	if err != nil || n < 0 {
		return fmt.Errorf("size %q: want a number with a unit, for example 512MiB or 10GiB", text)
	}
	*s = Size(n)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) {
	return []byte(units.Base2Bytes(s).String()), nil
}

// Age is a duration that may be given in days and weeks: 7d, 2w, 12h.
type Age time.Duration

// UnmarshalText reads the written form.
func (a *Age) UnmarshalText(text []byte) error {
	d, err := model.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("age %q: want a number with a unit, for example 7d, 2w or 12h", text)
	}
	*a = Age(d)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (a Age) MarshalText() ([]byte, error) { return []byte(model.Duration(a).String()), nil }

// Sync is "always" or an interval.
type Sync struct {
	Always bool          `mapstructure:"-"`
	Every  time.Duration `mapstructure:"-"`
}

// maxSync bounds what a power failure may take.
const maxSync = 10 * time.Second

// UnmarshalText reads the written form.
func (s *Sync) UnmarshalText(text []byte) error {
	if strings.EqualFold(string(text), "always") {
		*s = Sync{Always: true}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 || d > maxSync {
		return fmt.Errorf("sync %q: want always, or an interval up to %v such as 200ms", text, maxSync)
	}
	*s = Sync{Every: d}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (s Sync) MarshalText() ([]byte, error) {
	if s.Always {
		return []byte("always"), nil
	}
	return []byte(s.Every.String()), nil
}

// Duration gives an age as the engines take it.
func (a Age) Duration() time.Duration { return time.Duration(a) }

// String is the written form.
func (a Age) String() string { return model.Duration(a).String() }
