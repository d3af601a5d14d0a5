package api

import (
	"context"
	"time"
)

// StatusSource tells the state of the running process.
type StatusSource interface {
	Status(ctx context.Context) (*Status, error)
}

// Status is the state of one Guanlan process.
type Status struct {
	Version    string     `json:"version" example:"v0.1.0"`
	Commit     string     `json:"commit" doc:"Source revision; empty when not built from a repository."`
	GoVersion  string     `json:"goVersion" example:"go1.26.8"`
	Started    time.Time  `json:"started"`
	UptimeNs   int64      `json:"uptimeNs" doc:"Nanoseconds since the start."`
	Ready      bool       `json:"ready" doc:"True when telemetry is taken in and questions are answered."`
	DataFolder string     `json:"dataFolder"`
	Listeners  []Listener `json:"listeners" nullable:"false"`
	Stores     []Store    `json:"stores" nullable:"false"`
	Memory     Memory     `json:"memory"`
	Disk       Disk       `json:"disk"`
	Journal    Journal    `json:"journal"`
	Drops      []Drop     `json:"drops" nullable:"false" doc:"What had to be dropped since the start; empty when nothing was."`
	LastCrash  *Crash     `json:"lastCrash,omitempty" doc:"How the latest run that did not end in order ended, for a day."`
}

// Listener is an open port.
type Listener struct {
	Name    string `json:"name" doc:"What it takes." example:"OTLP/gRPC"`
	Address string `json:"address" example:"127.0.0.1:4317"`
}

// Store is what is kept of one signal.
type Store struct {
	Signal         string    `json:"signal" enum:"traces,logs,metrics,profiles"`
	Bytes          uint64    `json:"bytes" doc:"Size on disk."`
	Rows           uint64    `json:"rows" doc:"Traces: spans and the rows of the index that finds a trace by its id, usually one a trace. Logs: records. Metrics: samples taken in since the start. Profiles: profiles."`
	Oldest         time.Time `json:"oldest" doc:"Zero year when nothing is kept."`
	Newest         time.Time `json:"newest" doc:"Zero year when nothing is kept."`
	RetentionNs    int64     `json:"retentionNs" doc:"Kept at most so long, in nanoseconds; 0 when unlimited."`
	RetentionBytes uint64    `json:"retentionBytes" doc:"Kept at most so much; 0 when unlimited."`
}

// Memory is what the process uses and may use.
type Memory struct {
	UsedBytes  uint64 `json:"usedBytes" doc:"Resident set."`
	HeapBytes  uint64 `json:"heapBytes" doc:"Live Go heap."`
	LimitBytes uint64 `json:"limitBytes" doc:"What the Go runtime keeps below (GOMEMLIMIT); 0 when none."`
}

// Disk is the file system of the data folder.
type Disk struct {
	FreeBytes  uint64 `json:"freeBytes"`
	TotalBytes uint64 `json:"totalBytes"`
}

// Journal is the write-ahead log of accepted telemetry.
type Journal struct {
	Bytes    uint64 `json:"bytes" doc:"Accepted but not yet settled in the store."`
	Segments int    `json:"segments" doc:"Files."`
	Replayed uint64 `json:"replayed" doc:"Entries recovered at the start."`
	Broken   uint64 `json:"broken" doc:"Entries that could not be read back."`
}

// Drop is data that was not kept, by reason.
type Drop struct {
	Signal string `json:"signal" example:"logs"`
	Reason string `json:"reason" example:"queue_full"`
	Count  uint64 `json:"count" doc:"Spans, records, samples or profiles."`
}

// Crash is the end of an earlier run.
type Crash struct {
	Time   time.Time `json:"time" doc:"When the last words were written."`
	Reason string    `json:"reason" example:"killed: out of memory"`
	Detail string    `json:"detail" doc:"The start of the stack or of the kernel's message."`
}
