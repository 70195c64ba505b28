package disk

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The description of an OVA's machine keeps to the structure that DMTF's schema asks for (DSP8023 1.1, DSP0243 1.1): no
// package of Debian has the schema itself. Each change that the schema forbids is found.
func TestAnOVFHasTheStructureOfTheSchema(t *testing.T) {
	good := describeVM("disk", 1<<30, 12345, false)
	require.NoError(t, judgeOVF(good))
	for name, c := range map[string][2]string{
		"a section before the references": {"  <References>", "  <DiskSection><Info>x</Info></DiskSection><References>"},
		"a section without its Info":      {"    <Info>Networks</Info>\n", ""},
		"a name before the Info": {"    <Info>A virtual machine</Info>\n    <Name>disk</Name>",
			"    <Name>disk</Name>\n    <Info>A virtual machine</Info>"},
		"elements of an item out of order": {"<rasd:AddressOnParent>0</rasd:AddressOnParent>",
			"<rasd:Weight>1</rasd:Weight>"},
		"an element that an item must have": {"        <rasd:ResourceType>17</rasd:ResourceType>\n", ""},
		"an element of no schema":           {"<rasd:Parent>3</rasd:Parent>", "<rasd:Above>3</rasd:Above>"},
		"an attribute of no schema":         {"ovf:fileRef", "ovf:file"},
		"an attribute that must be there":   {` ovf:diskId="vmdisk1"`, ""},
		"two items with one number":         {"<rasd:InstanceID>2<", "<rasd:InstanceID>1<"},
		"no XML":                            {"</Envelope>", ""},
	} {
		require.Contains(t, good, c[0], name)
		require.Error(t, judgeOVF(strings.Replace(good, c[0], c[1], 1)), name)
	}
}

const (
	ovfSpace  = "http://schemas.dmtf.org/ovf/envelope/1"
	cimSpace  = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
	rasdSpace = cimSpace + "CIM_ResourceAllocationSettingData"
	vssdSpace = cimSpace + "CIM_VirtualSystemSettingData"
)

// element is what an element of the envelope may hold, in order, and which attributes. "!" behind a name: it must be
// there.
type element struct{ children, attributes string }

var ovfElements = map[string]element{
	"Envelope":               {"References! DiskSection NetworkSection VirtualSystem!", ""},
	"References":             {"File", ""},
	"File":                   {"", "id! href! size compression chunkSize"},
	"DiskSection":            {"Info! Disk", ""},
	"Disk":                   {"", "diskId! fileRef capacity! capacityAllocationUnits format populatedSize parentRef"},
	"NetworkSection":         {"Info! Network", ""},
	"Network":                {"Description", "name!"},
	"VirtualSystem":          {"Info! Name OperatingSystemSection VirtualHardwareSection", "id!"},
	"OperatingSystemSection": {"Info! Description", "id! version"},
	"VirtualHardwareSection": {"Info! System Item", "id transport"},
	"System":                 {"ElementName! InstanceID! VirtualSystemIdentifier VirtualSystemType", ""},
	"Item": {"Address AddressOnParent AllocationUnits AutomaticAllocation AutomaticDeallocation Caption Connection " +
		"ConsumerVisibility Description ElementName! HostResource InstanceID! Limit MappingBehavior OtherResourceType " +
		"Parent PoolID Reservation ResourceSubType ResourceType! VirtualQuantity VirtualQuantityUnits Weight", "required"},
}

// spaces are the namespaces of what others are made of than of OVF's own.
var spaces = map[string]string{"System": vssdSpace, "Item": rasdSpace}

type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []node     `xml:",any"`
	Text     string     `xml:",chardata"`
}

func judgeOVF(text string) error {
	var root node
	if err := xml.Unmarshal([]byte(text), &root); err != nil {
		return err
	}
	if root.XMLName != (xml.Name{Space: ovfSpace, Local: "Envelope"}) {
		return fmt.Errorf("it begins with %v", root.XMLName)
	}
	numbers := map[string]bool{}
	return judgeElement(root, numbers)
}

func judgeElement(n node, numbers map[string]bool) error {
	name := n.XMLName.Local
	is, known := ovfElements[name]
	if !known || n.XMLName.Space != ovfSpace {
		return nil // text, or another's
	}
	var attributes, children []string
	for _, a := range n.Attrs {
		if a.Name.Space == ovfSpace {
			attributes = append(attributes, a.Name.Local)
		}
	}
	space := ovfSpace
	if s := spaces[name]; s != "" {
		space = s
	}
	for _, c := range n.Children {
		switch {
		case c.XMLName.Space == space:
			children = append(children, c.XMLName.Local)
		case strings.HasPrefix(c.XMLName.Space, cimSpace) || c.XMLName.Space == ovfSpace:
			return fmt.Errorf("%s has a %v", name, c.XMLName)
		}
		if name == "Item" && c.XMLName.Local == "InstanceID" {
			if numbers[c.Text] {
				return fmt.Errorf("two items are number %s", c.Text)
			}
			numbers[c.Text] = true
		}
	}
	order, err := names(children, is.children)
	if err == nil && !slices.IsSorted(order) {
		err = errors.New("they are out of order")
	}
	if err == nil {
		_, err = names(attributes, is.attributes)
	}
	if err != nil {
		return fmt.Errorf("%s has %v and %v: %w", name, children, attributes, err)
	}
	for _, c := range n.Children {
		if err := judgeElement(c, numbers); err != nil {
			return err
		}
	}
	return nil
}

// names returns where each is in the list of those that may be there.
func names(have []string, may string) (places []int, err error) {
	all := strings.Fields(may)
	for i, name := range all {
		if must := strings.TrimSuffix(name, "!"); must != name {
			if all[i] = must; !slices.Contains(have, must) {
				return nil, fmt.Errorf("%s is not there", must)
			}
		}
	}
	for _, name := range have {
		at := slices.Index(all, name)
		if at < 0 {
			return nil, fmt.Errorf("the schema knows no %s there", name)
		}
		places = append(places, at)
	}
	return places, nil
}
