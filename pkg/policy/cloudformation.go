package policy

import (
	"fmt"
	"strings"
)

// cloudFormation returns the set as a template in YAML. JSON is valid YAML, so documents are
// included as they are.
func (s Set) cloudFormation() (string, error) {
	var resources, outputs strings.Builder
	name, path := s.roleName()
	for _, d := range s.Documents {
		switch d.Kind {
		case Trust:
			fmt.Fprintf(&resources, "  # %s\n  SealiftRole:\n    Type: AWS::IAM::Role\n    Properties:\n      RoleName: %s\n", s.comment(Trust), quoted(name))
			if path != "/" {
				fmt.Fprintf(&resources, "      Path: %s\n", quoted(path))
			}
			fmt.Fprintf(&resources, "      AssumeRolePolicyDocument:\n        %s\n", indentedJSON(d.Policy, "        "))
		case Role:
			role := quoted(name)
			if s.document(Trust) != nil {
				role = "!Ref SealiftRole"
			}
			fmt.Fprintf(&resources, "  # %s\n  SealiftRolePolicy:\n    Type: AWS::IAM::RolePolicy\n    Properties:\n      RoleName: %s\n      PolicyName: %s\n      PolicyDocument:\n        %s\n",
				s.comment(Role), role, quoted(s.inlinePolicyName()), indentedJSON(d.Policy, "        "))
		case Bucket:
			fmt.Fprintf(&resources, "  # %s\n  # A bucket has one policy: if it has one already, add these statements to that instead.\n"+
				"  SealiftBucketPolicy:\n    Type: AWS::S3::BucketPolicy\n    Properties:\n      Bucket: %s\n      PolicyDocument:\n        %s\n",
				s.comment(Bucket), quoted(s.Target.BucketName), indentedJSON(d.Policy, "        "))
		case KMS:
			fmt.Fprintf(&outputs, "Outputs:\n  # %s\n  SealiftKeyStatement:\n    Description: A key's policy stands where the key does; add this statement to it.\n    Value: %s\n",
				s.comment(KMS), quoted(compactJSON(d.Policy.Statement[0])))
		}
	}
	if resources.Len() == 0 {
		return "", fmt.Errorf("nothing here is a resource of CloudFormation; the statement of a key's policy has to be added where the key is declared: --format %s", JSON)
	}
	return fmt.Sprintf("AWSTemplateFormatVersion: \"2010-09-09\"\nDescription: %s\nResources:\n%s%s", quoted("Sealift's destination "+s.Target.ID), resources.String(), outputs.String()), nil
}
