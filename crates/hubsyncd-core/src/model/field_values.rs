//! A record's values, numbered as the fields of its mapping are.

use std::sync::Arc;

use crate::model::mapping::ObjectMapping;
use crate::model::name::PropertyName;
use crate::model::value::Value;

/// The properties by whose places the values of many records are numbered: made once, shared by all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FieldNames {
    names: Vec<PropertyName>,
    /// Places in `names`, by the name that stands there.
    by_name: Vec<usize>,
}

impl FieldNames {
    /// The properties of a mapping, in its order.
    pub fn of(mapping: &ObjectMapping) -> Arc<Self> {
        let fields = mapping.fields.iter();
        Arc::new(Self::new(
            fields.map(|field| field.property.clone()).collect(),
        ))
    }

    fn new(names: Vec<PropertyName>) -> Self {
        let mut by_name: Vec<usize> = (0..names.len()).collect();
        by_name.sort_by_key(|place| &names[*place]);
        Self { names, by_name }
    }

    /// Where a property stands; `None` where it has no place.
    pub fn place(&self, property: &PropertyName) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by_key(&property, |place| &self.names[*place]);
        found.ok().map(|index| self.by_name[index])
    }
}

/// The values of one record by field position: `None` where nothing is said of a property, an empty value where it has none.
///
/// ```
/// use hubsyncd_core::model::field_values::FieldValues;
/// use hubsyncd_core::model::name::PropertyName;
/// use hubsyncd_core::model::value::Value;
///
/// let city = PropertyName::parse("city").unwrap();
/// let values = FieldValues::from_iter([(city.clone(), Value::from_canonical("Kiel"))]);
/// assert_eq!(values.get(&city), Some(&Value::from_canonical("Kiel")));
/// assert_eq!(values.at(0), values.get(&city));
/// ```
#[derive(Debug, Clone, Default)]
pub struct FieldValues {
    names: Arc<FieldNames>,
    values: Vec<Option<Value>>,
}

impl FieldValues {
    /// Nothing said of any of these properties.
    pub fn nothing(names: &Arc<FieldNames>) -> Self {
        Self {
            names: Arc::clone(names),
            values: vec![None; names.names.len()],
        }
    }

    /// The value at a field's position in the mapping that the names were made of.
    pub fn at(&self, position: usize) -> Option<&Value> {
        self.values.get(position)?.as_ref()
    }

    /// Says the value at a position; what is out of range is left out.
    pub fn set_at(&mut self, position: usize, value: Value) {
        if let Some(place) = self.values.get_mut(position) {
            *place = Some(value);
        }
    }

    /// The value of a property.
    pub fn get(&self, property: &PropertyName) -> Option<&Value> {
        self.at(self.names.place(property)?)
    }

    /// The value of a property that is expected at a position: where it stands there, nothing is looked for.
    pub fn near(&self, position: usize, property: &PropertyName) -> Option<&Value> {
        match self.names.names.get(position) == Some(property) {
            true => self.at(position),
            false => self.get(property),
        }
    }

    /// What is said, in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = (&PropertyName, &Value)> {
        let said = |(name, value)| Some((name, Option::as_ref(value)?));
        self.names.names.iter().zip(&self.values).filter_map(said)
    }

    /// Whether nothing is said of any property.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }
}

/// Two records are equal where they say the same, however their fields are numbered.
impl PartialEq for FieldValues {
    fn eq(&self, other: &Self) -> bool {
        let said = |values: &Self| values.iter().count();
        said(self) == said(other)
            && self
                .iter()
                .all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for FieldValues {}

impl FromIterator<(PropertyName, Value)> for FieldValues {
    /// For a few values without a mapping at hand: they are numbered as they come.
    fn from_iter<T: IntoIterator<Item = (PropertyName, Value)>>(values: T) -> Self {
        let (names, values): (Vec<_>, Vec<_>) = values
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .unzip();
        Self {
            names: Arc::new(FieldNames::new(names)),
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str) -> PropertyName {
        PropertyName::parse(name).expect(name)
    }

    fn values(of: &[(&str, &str)]) -> FieldValues {
        let named = |(name, value): &(&str, &str)| (property(name), Value::from_canonical(*value));
        of.iter().map(named).collect()
    }

    #[test]
    fn a_value_is_found_by_its_name_and_by_its_place() {
        let mut shown = FieldValues::nothing(&Arc::new(FieldNames::new(vec![
            property("phone"),
            property("city"),
            property("email"),
        ])));
        assert!(shown.is_empty());
        shown.set_at(1, Value::from_canonical("Kiel"));
        shown.set_at(7, Value::from_canonical("nowhere"));
        assert_eq!(
            shown.get(&property("city")),
            Some(&Value::from_canonical("Kiel"))
        );
        assert_eq!(shown.at(1), shown.get(&property("city")));
        assert_eq!(shown.get(&property("phone")), None);
        assert_eq!(shown.get(&property("fax")), None);
        assert_eq!(shown.iter().count(), 1);
        for expected_at in [0, 1, 9] {
            assert_eq!(shown.near(expected_at, &property("city")), shown.at(1));
            assert_eq!(shown.near(expected_at, &property("phone")), None);
            assert_eq!(shown.near(expected_at, &property("fax")), None);
        }
    }

    #[test]
    fn records_that_say_the_same_are_equal_however_their_fields_are_numbered() {
        let one = values(&[("city", "Kiel"), ("phone", "1")]);
        let other = values(&[("phone", "1"), ("city", "Kiel")]);
        assert_eq!(one, other);
        assert_ne!(one, values(&[("city", "Kiel")]));
        assert_ne!(values(&[("city", "Kiel")]), one);
        assert_ne!(one, values(&[("city", "Kiel"), ("phone", "2")]));
    }
}
