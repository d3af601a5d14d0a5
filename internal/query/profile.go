package query

import (
	"context"
	"io"
	"time"
)

// Profiler answers questions about profiles. Implemented by NewProfiler's
// result.
type Profiler interface {
	// Profiles lists what has profiles in the window, by service and type.
	Profiles(ctx context.Context, w Window) (*ProfileList, error)
	// Flame adds up the profiles of a type as a tree of calls; with base, the
	// same tree has the values of that window, too.
	Flame(ctx context.Context, w Window, kind string, base *Window) (*Flame, error)
	// Merge adds up the profiles of a type to one, or averages them where they
	// are states of a moment; see Momentary. It is written to out in the format of
	// pprof, compressed by gzip.
	Merge(ctx context.Context, w Window, kind string, out io.Writer) error
	// Fields lists what profiles can be asked for: attributes of the resource and
	// labels of samples. Values lists the values of one that begin with prefix.
	Fields(ctx context.Context, w Window) (*FieldList, error)
	Values(ctx context.Context, w Window, field, prefix string, limit int) (*ValueList, error)
	// Add keeps a profile in the format of pprof, compressed by gzip or not.
	// An empty kind is guessed from the types of its values.
	Add(ctx context.Context, pprof []byte, kind string, resource map[string]string) (*ProfileAdded, error)
}

// ProfileAdded names a profile that is kept.
type ProfileAdded struct {
	ID   string `json:"id" doc:"Names the upload."`
	Type string `json:"type" doc:"Given, or guessed from the types of its values." example:"cpu"`
}

// ProfileList is what has profiles, by service and type.
type ProfileList struct {
	Series []ProfileSeries `json:"series" nullable:"false"`
}

// ProfileSeries is the profiles of one type of one service.
type ProfileSeries struct {
	Service   string    `json:"service" doc:"service.name; empty when the sender told none."`
	Type      string    `json:"type" doc:"What is measured: cpu, off_cpu, heap, allocs, goroutine, mutex, block or what the sender calls it." example:"cpu"`
	Unit      string    `json:"unit" doc:"Unit of total and of the values in flame graphs." example:"nanoseconds"`
	Profiles  int       `json:"profiles" doc:"How many there are in the window."`
	First     time.Time `json:"first" doc:"Start of the oldest."`
	Last      time.Time `json:"last" doc:"Start of the newest."`
	Total     int64     `json:"total" doc:"Sum of all values."`
	Versions  []string  `json:"versions" nullable:"false" doc:"Values of service.version, at most 50."`
	Instances []string  `json:"instances" nullable:"false" doc:"Values of service.instance.id, else k8s.pod.name, container.id or host.name, at most 50."`
}

// Flame is the tree of calls of all matching profiles together. The members of
// names, kinds and files with one index belong together: a function in a file.
type Flame struct {
	Unit         string     `json:"unit" doc:"Unit of all values." example:"nanoseconds"`
	Profiles     int        `json:"profiles" doc:"How many profiles were added up."`
	BaseProfiles int        `json:"base_profiles" doc:"The same of the base; 0 without one."`
	Total        int64      `json:"total" doc:"Sum of all samples. Types that are the state of a moment (heap, goroutine, threadcreate) are added up as well: divide by profiles."`
	BaseTotal    int64      `json:"base_total" doc:"The same of the base; 0 without one."`
	Truncated    bool       `json:"truncated" doc:"True when calls were left out to keep the answer small; their values stand in the callers' self."`
	Names        []string   `json:"names" nullable:"false" doc:"Functions."`
	Kinds        []string   `json:"kinds" nullable:"false" doc:"Of each function: go, inline (compiled into its caller), c, kernel or other."`
	Files        []string   `json:"files" nullable:"false" doc:"Of each function, with the line where it begins (file.go:12) when that is known; empty when unknown."`
	Nodes        FlameNodes `json:"nodes"`
}

// FlameNodes are the nodes of the tree as parallel arrays, parents before
// children.
type FlameNodes struct {
	Name      []int   `json:"name" nullable:"false" doc:"Index of the function."`
	Parent    []int   `json:"parent" nullable:"false" doc:"Index of the calling node; -1 where there is none."`
	Self      []int64 `json:"self" nullable:"false" doc:"Spent in the function itself."`
	Value     []int64 `json:"value" nullable:"false" doc:"Spent in the function and what it calls."`
	BaseSelf  []int64 `json:"base_self,omitempty" nullable:"false" doc:"Self in the base; only when one was asked for."`
	BaseValue []int64 `json:"base_value,omitempty" nullable:"false" doc:"Value in the base; only when one was asked for."`
}

// MaxFlameNodes bounds a tree: more cannot be told apart on a screen, and are
// a megabyte of JSON.
const MaxFlameNodes = 20_000
