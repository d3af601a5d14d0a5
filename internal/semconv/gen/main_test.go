package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestNamesAreCurrent(t *testing.T) {
	src, err := os.ReadFile("../attributes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(src)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../names.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("names.go is not what attributes.yaml gives; run: go generate ./internal/semconv")
	}
}

func TestIdentifier(t *testing.T) {
	for name, want := range map[string]string{
		"service.name":              "ServiceName",
		"http.response.status_code": "HTTPResponseStatusCode",
		"db.system.name":            "DBSystemName",
		"k8s.pod.uid":               "K8sPodUID",
		"guanlan.red.series":        "GuanlanREDSeries",
	} {
		if got := identifier(name); got != want {
			t.Errorf("identifier(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, src := range map[string]string{
		"both give constant": "attributes: [{name: a.b, brief: x}, {name: a_b, brief: x}]",
		"is given twice":     "attributes: [{name: a.b, brief: x}, {name: a.b, go: C, brief: x}]",
		"must be given":      "attributes: [{name: a.b}]",
		"not found":          "attributes: [{name: a.b, breif: x}]",
	} {
		if _, err := generate([]byte(src)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("generate(%s): error %v, want one that says %q", src, err, name)
		}
	}
}
