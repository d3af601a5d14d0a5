package collector_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/otelcol"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/guanlan-io/guanlan/collector"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
)

// Every YAML block of the guides loads: one fenced as "yaml" is a configuration by
// itself, "yaml fragment" is merged over the default, "yaml agent" over that of the
// agent. "yaml rules" are rules of the audit, "yaml kubernetes" is a manifest.
func TestConfigurationsOfTheGuidesLoad(t *testing.T) {
	guides, err := filepath.Glob("../docs/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := filepath.Glob("../docs/guides/kernel/*.md")
	if err != nil || len(kernel) == 0 {
		t.Fatalf("guides of the kernel: %v, %v", kernel, err)
	}
	guides = append(guides, kernel...)
	found := 0
	for _, path := range guides {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := yamlBlocks(string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found += len(blocks)
		for _, b := range blocks {
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(path), b.line), func(t *testing.T) {
				if err := b.load(t); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if found == 0 {
		t.Error("no YAML block in any guide: is docs/guides where it was?")
	}
}

// The test above means something only if a wrong block is refused.
func TestAWrongBlockIsRefused(t *testing.T) {
	for _, text := range []string{
		"```yaml fragment\nextensions:\n  store:\n    directry: x\n```\n",
		"```yaml fragment\nservice:\n  pipelines:\n    logs:\n      receivers: [nobody]\n```\n",
		"```yaml\nextensions:\n  store:\n```\n", // a fragment that says it is whole
		"```yaml agent\nreceivers:\n  kernel:\n    tpc:\n```\n",
		"```yaml rules\nversion: 1\nrules:\n  - {id: x}\n```\n",
		"```yaml kubernetes\nkind: DaemonSet\n```\n",
	} {
		blocks, err := yamlBlocks(text)
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%q: got %d blocks, error %v", text, len(blocks), err)
		}
		if blocks[0].load(t) == nil {
			t.Errorf("loaded:\n%s", text)
		}
	}
	if _, err := yamlBlocks("```yml\na: b\n```\n"); err == nil {
		t.Error("a fence that no test would look at was let through")
	}
}

type yamlBlock struct {
	line int    // of the fence
	kind string // what follows "yaml", if anything
	text string
}

// yamlKinds are what a fence may say.
var yamlKinds = []string{"yaml", "yaml fragment", "yaml agent", "yaml rules", "yaml kubernetes"}

// loadManifest reads one object as a cluster would.
func loadManifest(text []byte) error {
	var kind metav1.TypeMeta
	if err := sigsyaml.Unmarshal(text, &kind); err != nil {
		return err
	}
	var daemons appsv1.DaemonSet
	var role rbacv1.ClusterRole
	into := map[string]any{
		"apps/v1 DaemonSet": &daemons, "v1 ServiceAccount": &corev1.ServiceAccount{},
		"rbac.authorization.k8s.io/v1 ClusterRole": &role, "rbac.authorization.k8s.io/v1 ClusterRoleBinding": &rbacv1.ClusterRoleBinding{},
	}[kind.APIVersion+" "+kind.Kind]
	if into == nil {
		return fmt.Errorf("no kind %q of %q is known here", kind.Kind, kind.APIVersion)
	}
	if err := sigsyaml.UnmarshalStrict(text, into); err != nil {
		return err
	}
	if kind.Kind == "DaemonSet" && len(daemons.Spec.Template.Spec.Containers) == 0 {
		return errors.New("no containers")
	}
	if kind.Kind == "ClusterRole" && len(role.Rules) == 0 {
		return errors.New("no rules")
	}
	return nil
}

// yamlBlocks returns the fenced YAML of a Markdown text.
func yamlBlocks(markdown string) ([]yamlBlock, error) {
	var blocks []yamlBlock
	open := "" // info string of the fence that we are in
	var b yamlBlock
	for i, line := range strings.Split(markdown, "\n") {
		fence, ok := strings.CutPrefix(line, "```")
		switch {
		case ok && open == "":
			if open = strings.TrimSpace(fence); open == "" {
				open = "text"
			}
			if strings.HasPrefix(open, "yml") || strings.HasPrefix(open, "yaml") && !slices.Contains(yamlKinds, open) {
				return nil, fmt.Errorf("line %d: fence %q: want one of %q", i+1, open, yamlKinds)
			}
			b = yamlBlock{line: i + 1, kind: strings.TrimPrefix(strings.TrimPrefix(open, "yaml"), " ")}
		case ok:
			if strings.HasPrefix(open, "yaml") {
				blocks = append(blocks, b)
			}
			open = ""
		case open != "":
			b.text += line + "\n"
		}
	}
	if open != "" {
		return nil, errors.New("the last fence does not end")
	}
	return blocks, nil
}

// load checks the block as `guanlan config validate` would.
func (b yamlBlock) load(t *testing.T) error {
	switch b.kind {
	case "rules":
		_, err := audit.ParseRules(audit.Builtin(), []byte(b.text))
		return err
	case "kubernetes":
		for text := range strings.SplitSeq(b.text, "\n---\n") {
			if err := loadManifest([]byte(text)); err != nil {
				return err
			}
		}
		return nil
	}
	path := filepath.Join(t.TempDir(), "block.yaml")
	if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
		return err
	}
	uris := []string{"file:" + path}
	switch b.kind {
	case "fragment":
		uris = []string{collector.Default, uris[0]}
	case "agent":
		uris = []string{collector.Agent, uris[0]}
	}
	col, err := otelcol.NewCollector(collector.Settings(collector.Options{Version: "test", URIs: uris}))
	if err != nil {
		return err
	}
	return col.DryRun(t.Context())
}
