//! Line charts as SVG.

use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, IntoFont, LineSeries, Palette, Palette99, PathElement, SVGBackend,
    WHITE,
};

/// Curves over 1, 2, 3 …, each with its name.
pub fn line_chart(x: &str, y: &str, curves: &[(String, Vec<f64>)]) -> Result<String, String> {
    let mut svg = String::new();
    draw(&mut svg, x, y, curves).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn draw(svg: &mut String, x: &str, y: &str, curves: &[(String, Vec<f64>)]) -> Result<(), Box<dyn std::error::Error>> {
    let longest = curves.iter().map(|(_, curve)| curve.len()).max().unwrap_or(1).max(2);
    let values = || curves.iter().flat_map(|(_, curve)| curve.iter().copied());
    let low = values().fold(f64::INFINITY, f64::min).min(0.9);
    let high = values().fold(f64::NEG_INFINITY, f64::max).max(1.0);
    let area = SVGBackend::with_string(svg, (720, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(1.0..longest as f64, low..high)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .label_style(("sans-serif", 13).into_font())
        .draw()?;
    for (number, (name, curve)) in curves.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let points = curve
            .iter()
            .enumerate()
            .map(|(index, &value)| (index as f64 + 1.0, value));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(plotters::prelude::SeriesLabelPosition::LowerRight)
        .draw()?;
    area.present()?;
    Ok(())
}
