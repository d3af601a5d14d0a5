// Command gen writes the constants of package semconv from attributes.yaml.
// It runs in the folder of the package: go generate ./internal/semconv
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entry is one name in attributes.yaml.
type entry struct {
	Name  string `yaml:"name"`
	Go    string `yaml:"go"`
	Kind  string `yaml:"kind"`
	Unit  string `yaml:"unit"`
	Brief string `yaml:"brief"`
}

func main() {
	log.SetFlags(0)
	src, err := os.ReadFile("attributes.yaml")
	if err != nil {
		log.Fatal(err)
	}
	out, err := generate(src)
	if err != nil {
		log.Fatalf("generate names: %v", err)
	}
	if err := os.WriteFile("names.go", out, 0o644); err != nil {
		log.Fatal(err)
	}
}

// generate returns the Go source for the names in src.
func generate(src []byte) ([]byte, error) {
	var doc struct {
		Attributes []entry `yaml:"attributes"`
		Events     []entry `yaml:"events"`
		Metrics    []entry `yaml:"metrics"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("parse attributes.yaml: %w", err)
	}
	var b bytes.Buffer
	b.WriteString("// Code generated from attributes.yaml by gen. DO NOT EDIT.\n\npackage semconv\n")
	seen := map[string]string{}
	names := map[string]bool{}
	block := func(comment, prefix string, entries []entry) error {
		fmt.Fprintf(&b, "\n// %s\nconst (\n", comment)
		for _, e := range entries {
			if e.Name == "" || e.Brief == "" {
				return fmt.Errorf("entry %q: name and brief must be given", e.Name)
			}
			id := e.Go
			if id == "" {
				id = prefix + identifier(e.Name)
			}
			if other, dup := seen[id]; dup {
				return fmt.Errorf("names %q and %q both give constant %s", other, e.Name, id)
			}
			if names[prefix+e.Name] {
				return fmt.Errorf("name %q is given twice", e.Name)
			}
			seen[id], names[prefix+e.Name] = e.Name, true
			note := ""
			if e.Kind != "" {
				note = " (" + e.Kind
				if e.Unit != "" {
					note += ", " + e.Unit
				}
				note += ")"
			}
			fmt.Fprintf(&b, "\t// %s: %s%s.\n\t%s = %q\n", id, strings.TrimSuffix(e.Brief, "."), note, id, e.Name)
		}
		b.WriteString(")\n")
		return nil
	}
	if err := block("Keys of attributes.", "", doc.Attributes); err != nil {
		return nil, err
	}
	if err := block("Names of events.", "Event", doc.Events); err != nil {
		return nil, err
	}
	if err := block("Names of metrics.", "Metric", doc.Metrics); err != nil {
		return nil, err
	}
	return format.Source(b.Bytes())
}

// initialisms are words that Go writes in capitals.
var initialisms = map[string]string{
	"api": "API", "db": "DB", "dns": "DNS", "http": "HTTP", "id": "ID", "ip": "IP", "k8s": "K8s",
	"io": "IO", "oom": "OOM", "os": "OS", "otel": "OTel", "pid": "PID", "red": "RED", "rpc": "RPC", "rss": "RSS", "rtt": "RTT", "sdk": "SDK", "slo": "SLO", "srtt": "SRTT", "tcp": "TCP",
	"tls": "TLS", "uid": "UID", "url": "URL",
}

// identifier turns a dotted name into a Go identifier: db.system.name becomes
// DBSystemName.
func identifier(name string) string {
	var b strings.Builder
	for _, w := range strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '_' || r == '-' }) {
		if s, ok := initialisms[w]; ok {
			b.WriteString(s)
		} else {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}
