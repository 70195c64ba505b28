package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// changed is the API after a change of its descriptor.
func changed(t *testing.T, change func(*descriptorpb.FileDescriptorProto)) []string {
	t.Helper()
	d := protodesc.ToFileDescriptorProto(pawlv1.File_pawl_proto)
	change(d)
	f, err := protodesc.NewFile(d, protoregistry.GlobalFiles)
	require.NoError(t, err)
	return surface(f)
}

func message(t *testing.T, f *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
	t.Helper()
	for _, m := range f.GetMessageType() {
		if m.GetName() == name {
			return m
		}
	}
	t.Fatalf("no message %s", name)
	return nil
}

// Each change that breaks a caller is found, by the name of what it was; what is only new is none.
func TestWhatBreaksACaller(t *testing.T) {
	old := surface(pawlv1.File_pawl_proto)
	first := func(t *testing.T, f *descriptorpb.FileDescriptorProto) *descriptorpb.FieldDescriptorProto {
		return message(t, f, "UpgradeRequest").GetField()[0]
	}
	name := string(pawlv1.File_pawl_proto.Messages().ByName("UpgradeRequest").Fields().Get(0).FullName())
	for what, c := range map[string]struct {
		says   string
		change func(*testing.T, *descriptorpb.FileDescriptorProto)
	}{
		"a field goes": {name + " was removed", func(t *testing.T, f *descriptorpb.FileDescriptorProto) {
			m := message(t, f, "UpgradeRequest")
			m.Field = m.GetField()[1:]
		}},
		"a field gets another number": {name + " was renumbered: it was 1, and is 999",
			func(t *testing.T, f *descriptorpb.FileDescriptorProto) { first(t, f).Number = proto.Int32(999) }},
		"a field gets another name": {name + " was renamed: number 1 is pawl.v1.UpgradeRequest.other",
			func(t *testing.T, f *descriptorpb.FileDescriptorProto) { first(t, f).Name = proto.String("other") }},
		"a field gets another type": {name + ` was retyped: it was "string json=image", and is "bytes json=image"`,
			func(t *testing.T, f *descriptorpb.FileDescriptorProto) {
				first(t, f).Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
			}},
		"a field becomes many": {"was retyped", func(t *testing.T, f *descriptorpb.FileDescriptorProto) {
			first(t, f).Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}},
		"a field asks for a role": {"role=admin", func(t *testing.T, f *descriptorpb.FileDescriptorProto) {
			o := &descriptorpb.FieldOptions{}
			proto.SetExtension(o, pawlv1.E_RoleIfSet, "admin")
			first(t, f).Options = o
		}},
		"a method goes": {"pawl.v1.Node.Version was removed", func(_ *testing.T, f *descriptorpb.FileDescriptorProto) {
			f.GetService()[0].Method = f.GetService()[0].GetMethod()[1:]
		}},
		"a method streams": {"pawl.v1.Node.Version was changed", func(_ *testing.T, f *descriptorpb.FileDescriptorProto) {
			f.GetService()[0].GetMethod()[0].ServerStreaming = proto.Bool(true)
		}},
		"a method asks for another role": {`role=admin by-get"`, func(_ *testing.T, f *descriptorpb.FileDescriptorProto) {
			proto.SetExtension(f.GetService()[0].GetMethod()[0].GetOptions(), pawlv1.E_Role, "admin")
		}},
		"a method is not asked by GET": {"by-get", func(_ *testing.T, f *descriptorpb.FileDescriptorProto) {
			f.GetService()[0].GetMethod()[0].GetOptions().IdempotencyLevel = nil
		}},
	} {
		t.Run(what, func(t *testing.T) {
			now := changed(t, func(f *descriptorpb.FileDescriptorProto) { c.change(t, f) })
			require.Contains(t, strings.Join(breaches(old, now), "\n"), c.says)
		})
	}
	now := changed(t, func(f *descriptorpb.FileDescriptorProto) {
		m := message(t, f, "UpgradeRequest")
		more := proto.CloneOf(m.GetField()[0])
		more.Name, more.JsonName, more.Number = proto.String("more"), proto.String("more"), proto.Int32(998)
		m.Field = append(m.Field, more)
	})
	require.Empty(t, breaches(old, now))
	require.Len(t, now, len(old)+1)
}

// What is kept holds of the API as it is, and -keep takes what is new and refuses what breaks.
func TestWhatIsKept(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "node", "pawlv1", "api.txt"))
	require.NoError(t, err)
	require.Greater(t, strings.Count(string(data), "\n"), 100, "there is something to hold")
	file := filepath.Join(t.TempDir(), "api.txt")
	lines := strings.SplitAfter(string(data), "\n")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines[1:], "")), 0o600))
	require.NoError(t, run(file, false))
	require.NoError(t, run(file, true))
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(kept), lines[0])
	require.NoError(t, os.WriteFile(file, append(kept, "field pawl.v1.UpgradeRequest.gone 77 bool\n"...), 0o600))
	require.ErrorContains(t, run(file, true), "pawl.v1.UpgradeRequest.gone was removed")
}
